"""Each public set by its real path through download and layout, with small archives of the real shape."""

from __future__ import annotations

import collections
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from mobilenets.data import layouts, public
from mobilenets.data.dataset import Dataset, open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.public import PUBLIC_SETS, fetch
from mobilenets.errors import UserError

Archives = dict[str, bytes]  # by file name


class Quiet(SimpleHTTPRequestHandler):
    """Python's own file server, silent."""

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a local server serves as the mirror; the cache is empty."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("MOBILENETS_MIRROR", f"http://127.0.0.1:{httpd.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MOBILENETS_CACHE", str(tmp_path / "cache"))
    yield folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def serve(mirror: Path, name: str, archives: Archives, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts archives where the set's addresses lead, and their size and hash into the catalogue."""
    entry = PUBLIC_SETS[name]
    files = []
    for file in entry.files:
        data = archives[file.name]
        parts = urlsplit(file.url)
        path = mirror / parts.netloc / parts.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files.append(replace(file, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
    monkeypatch.setitem(public.PUBLIC_SETS, name, replace(entry, files=tuple(files)))


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def counts(dataset: Dataset) -> dict[tuple[str | None, str], int]:
    return dict(collections.Counter((s.split, dataset.classes[s.label].name) for s in dataset.samples))


def rps_archives(png_of: Callable[..., bytes]) -> Archives:
    signs = ("rock", "paper", "scissors")
    train = {f"rps/{sign}/{sign}01-00{i}.png": png_of(i) for sign in signs for i in range(3)}
    test = {f"rps-test-set/{sign}/testrock01-0{i}.png": png_of(9 + i) for sign in signs for i in range(2)}
    extra = {"rps/": b"", "__MACOSX/rps/rock/._x.png": b"x", "rps/readme.txt": b"hello"}
    return {"rps.zip": zipped(train | extra), "rps-test-set.zip": zipped(test)}


def test_rock_paper_scissors_by_its_name(
    mirror: Path, png_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(mirror, "rock_paper_scissors", rps_archives(png_of), monkeypatch)
    dataset = open_dataset("rock_paper_scissors")
    signs = ("rock", "paper", "scissors")
    assert counts(dataset) == {("train", s): 3 for s in signs} | {("test", s): 2 for s in signs}
    assert "CC BY 2.0" in (dataset.root / "ORIGIN.txt").read_text()
    downloads = dataset.root.parents[1] / "downloads"
    assert [path.name for path in downloads.iterdir() if path.suffix != ".lock"] == []
    monkeypatch.setenv("MOBILENETS_MIRROR", "http://127.0.0.1:9")
    assert open_dataset("rock_paper_scissors") == dataset  # from the cache, without a server


def test_cifar10_is_decoded_to_the_pixel(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    rng = np.random.default_rng(0)
    batches = {f"data_batch_{i}.bin": rng.integers(0, 256, (20, 3073), dtype=np.uint8) for i in range(1, 6)}
    batches["test_batch.bin"] = rng.integers(0, 256, (10, 3073), dtype=np.uint8)
    for records in batches.values():
        records[:, 0] = np.arange(len(records)) % 10
    files = {f"cifar-10-batches-bin/{name}": records.tobytes() for name, records in batches.items()}
    files["cifar-10-batches-bin/batches.meta.txt"] = ("\n".join(names) + "\n\n").encode()
    serve(mirror, "cifar10", {"cifar-10-binary.tar.gz": tarred(files)}, monkeypatch)
    dataset = open_dataset("cifar10")
    assert counts(dataset) == {("train", name): 10 for name in names} | {("test", name): 1 for name in names}
    image = decode_image((dataset.root / "train/bird/00042.png").read_bytes())
    record = batches["data_batch_3.bin"][2]
    assert np.array_equal(image.transpose(2, 0, 1).ravel(), record[1:])


def test_oxford_iiit_pet_follows_the_authors_lists(
    mirror: Path, png_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stems = ["Abyssinian_1", "Abyssinian_2", "great_pyrenees_7", "great_pyrenees_8", "keeshond_3"]
    images = {f"images/{stem}.jpg": png_of(i) for i, stem in enumerate(stems)} | {"images/Abyssinian_1.mat": b"x"}
    lists = {
        "annotations/trainval.txt": b"Abyssinian_1 1 1 1\ngreat_pyrenees_7 2 2 1\n",
        "annotations/test.txt": b"Abyssinian_2 1 1 1\ngreat_pyrenees_8 2 2 1\n",
        "annotations/README": b"about",
    }
    serve(
        mirror, "oxford_iiit_pet", {"images.tar.gz": tarred(images), "annotations.tar.gz": tarred(lists)}, monkeypatch
    )
    assert counts(open_dataset("oxford_iiit_pet")) == {
        (split, breed): 1 for split in ("train", "test") for breed in ("Abyssinian", "great_pyrenees")
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_stanford_dogs_reads_matlab_lists(
    mirror: Path, png_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    scipy_io = pytest.importorskip("scipy.io", reason="SciPy writes the MATLAB files")
    paths = [f"n0208562{k}-{'Chihuahua' if k else 'Shih-Tzu'}/n0208562{k}_{i}.jpg" for k in range(2) for i in range(40)]

    def listed(chosen: list[str]) -> bytes:
        cells = np.empty((len(chosen), 1), dtype=object)
        cells[:, 0] = chosen
        without = np.empty_like(cells)
        without[:, 0] = [path.removesuffix(".jpg") for path in chosen]
        buffer = io.BytesIO()
        values = {"file_list": cells, "annotation_list": without, "labels": np.ones((len(chosen), 1))}
        scipy_io.savemat(buffer, values, do_compression=compressed)
        return buffer.getvalue()

    lists = {"train_list.mat": listed(paths[::2]), "test_list.mat": listed(paths[1::2]), "file_list.mat": listed(paths)}
    images = {f"Images/{path}": png_of(i) for i, path in enumerate(paths)}
    serve(mirror, "stanford_dogs", {"images.tar": tarred(images, "w"), "lists.tar": tarred(lists, "w")}, monkeypatch)
    dataset = open_dataset("stanford_dogs")
    assert set(counts(dataset).values()) == {20}
    assert len(counts(dataset)) == 4
    assert {s.name for s in dataset.of_split("train")} == {f"train/{path}" for path in paths[::2]}


def test_matlab_text_of_two_bytes_per_character() -> None:
    paths = {f"n02085620-Chihuahua/n02085620_{i}.jpg" for i in range(5)}
    body = b"".join(path.encode("utf-16-le") + b"\0\0" for path in sorted(paths))
    element = (14).to_bytes(4, "little") + len(body).to_bytes(4, "little") + body
    assert layouts.dog_paths(b"MATLAB".ljust(128) + element) == paths


def test_flowers_have_no_splits(mirror: Path, png_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"flower_photos/{kind}/{i}_n.jpg": png_of(i) for kind in ("daisy", "tulips") for i in range(2)}
    files["flower_photos/LICENSE.txt"] = b"photographers"
    serve(mirror, "flowers", {"flower_photos.tgz": tarred(files)}, monkeypatch)
    dataset = open_dataset("flowers")
    assert counts(dataset) == {(None, "daisy"): 2, (None, "tulips"): 2}
    assert (dataset.root / "LICENSE.txt").read_bytes() == b"photographers"


def test_an_archive_that_leads_out_is_refused_and_leaves_nothing(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive = tarred({"flower_photos/daisy/1.jpg": b"x", "../../evil/daisy.jpg": b"x"})
    serve(mirror, "flowers", {"flower_photos.tgz": archive}, monkeypatch)
    with pytest.raises(UserError, match="leads out of it"):
        fetch("flowers")
    assert not (tmp_path / "cache/public/flowers").exists()
    assert list((tmp_path / "cache/public").iterdir()) == []
    assert not list(tmp_path.rglob("evil"))


def test_a_full_disk_while_unpacking_leaves_the_download(
    mirror: Path, png_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(mirror, "rock_paper_scissors", rps_archives(png_of), monkeypatch)
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if "scissors01" in self.name:
            raise OSError(28, "No space left on device", str(self))
        return write_bytes(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            fetch("rock_paper_scissors")
    assert list((tmp_path / "cache/public").iterdir()) == []
    monkeypatch.setenv("MOBILENETS_MIRROR", "http://127.0.0.1:9")  # the archives are there: no server is needed
    assert len(open_dataset("rock_paper_scissors").samples) == 15


def test_several_at_once_lay_out_once(
    mirror: Path, png_of: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(mirror, "rock_paper_scissors", rps_archives(png_of), monkeypatch)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch("rock_paper_scissors"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_offline_is_one_line(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_MIRROR", "http://127.0.0.1:9")
    for name in PUBLIC_SETS:
        with pytest.raises(UserError, match="cannot be reached") as caught:
            open_dataset(name)
        assert "\n" not in str(caught.value)


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="rock_paper_scissors, cifar10, oxford_iiit_pet, stanford_dogs, flowers"):
        fetch("imagenet")


def test_the_catalogue_is_complete() -> None:
    for name, entry in PUBLIC_SETS.items():
        assert entry.name == name
        assert entry.licence
        assert entry.homepage.startswith("http")
        for file in entry.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256), file
            assert file.size > 400_000
            assert file.url.startswith("http")
