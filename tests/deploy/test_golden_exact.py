"""The programs in a bundle give the golden outputs, to the last bit but for one, where torch is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mobilenets.deploy.export import export

pytestmark = pytest.mark.slow

# The program as it stands, started without pictures; then its own expression for the logits, on each golden input.
ALONE = """
import json, re, runpy, sys
from pathlib import Path
import numpy as np
from PIL import Image
sys.modules["torch"] = sys.modules["mobilenets"] = None
program, *pictures = sys.argv[1:]
sys.argv = [program]
known = runpy.run_path(program)
logits = re.search(r"logits = (.+) / \\(BUNDLE", Path(program).read_text())[1]
found = [eval(logits, known | {"image": np.asarray(Image.open(picture))}) for picture in pictures]
print(json.dumps([np.asarray(each, np.float32).ravel().tolist() for each in found]))
"""


@pytest.mark.parametrize("precision", ["float32", "float16", "weights8"])
def test_the_programs_give_the_golden_outputs_exactly(run: Path, precision: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")  # which no extra installs
    bundle = tmp_path / "bundle"
    runtimes = ["onnx", "openvino", "litert"] + ["ncnn"] * (precision != "weights8")
    export(run, bundle, runtimes, [precision])
    manifest = json.loads((bundle / "bundle.json").read_text())
    outputs = json.loads((bundle / manifest["golden"]["expected"]).read_text())["files"]
    assert len(outputs) == len(runtimes)
    for path, expected in outputs.items():
        program = bundle / f"example_{path.partition('/')[0]}.py"
        pictures = [str(bundle / name) for name in manifest["golden"]["images"]]
        command = [sys.executable, "-c", ALONE, str(program), *pictures]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(ended.stdout)
        if path.startswith(
            "openvino/weights8/"
        ):  # whose last layer adds up in another order for three pictures at once
            np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
        else:
            assert found == expected, program.name
