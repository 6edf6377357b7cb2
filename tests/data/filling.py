"""A process that fills a decoded cache: `filling.py FOLDER IMAGES BOUND [CALL BYTES]`.

With CALL and BYTES it is killed in the CALL-th write, when BYTES of it are done.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np

from mobilenets.data import decoded


def image_of(number: int) -> np.ndarray:
    """What image `number` decodes to; every one has another size."""
    shape = (20 + number % 7, 30 + number % 5, 3)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def _die_in_call(call: int, size: int) -> None:
    write, calls = decoded._write_at, 0

    def dying(file: int, data: bytes | memoryview, offset: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            write(file, data[:size], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, data, offset)

    decoded._write_at = dying


def main() -> None:
    """Fills the cache in an order that differs from process to process, then prints how many images are there."""
    folder, images, bound = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if len(sys.argv) > 4:
        _die_in_call(int(sys.argv[4]), int(sys.argv[5]))
    cache = decoded.DecodedCache(folder, images, bound)
    order = np.random.default_rng(os.getpid()).permutation(images).tolist()
    for number in order:
        kept = cache.get(number)
        if kept is None:
            cache.put(number, image_of(number))
        else:
            assert np.array_equal(kept, image_of(number)), number
    print(cache.count)


if __name__ == "__main__":
    main()
