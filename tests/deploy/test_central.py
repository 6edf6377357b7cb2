"""A bundle whose pictures lose their borders before they are resized, as slim evaluated: manifest, card, program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import onnxruntime
import pytest

from mobilenets.deploy.export import export
from mobilenets.deploy.predict import predict

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "bundle.json"


@pytest.fixture
def central(run: Path, tmp_path: Path) -> Path:
    """The Bundle of the Run, had its Spec said `central`."""
    changed = shutil.copytree(run, tmp_path / "run")
    spec = json.loads((changed / "spec.json").read_text())
    spec["preprocessing"] |= {"resize": "central", "crop_fraction": 0.75}
    (changed / "spec.json").write_text(json.dumps(spec))
    export(changed, tmp_path / "central")
    return tmp_path / "central"


def test_the_whole_way(central: Path, tmp_path: Path) -> None:
    manifest = json.loads((central / "bundle.json").read_text())
    jsonschema.validate(manifest, json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)
    contract = manifest["preprocessing"]
    assert (contract["resize"], contract["crop_fraction"], contract["short_side"]) == ("central", 0.75, 32)
    step = "cut floor((side - side * 0.75) / 2) pixels off both ends of each side"
    assert any(step in said for said in contract["by_the_app"])
    assert step in (central / "MODEL_CARD.md").read_text()

    rng = np.random.default_rng(4)
    picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (93, 58), interpolation=cv2.INTER_CUBIC)
    path = str(tmp_path / "picture.png")
    cv2.imwrite(path, picture)
    # 58 - 58 * 0.75 = 14.5, half of it 7.25; 93 - 69.75 = 23.25, half of it 11.6
    part = cv2.resize(picture[7:51, 11:82, ::-1], (32, 32), interpolation=cv2.INTER_AREA)
    file = central / "onnx" / "float32" / "model.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"image": part[None]})[0][0].astype(np.float64)
    logits /= manifest["decision"]["temperature"] or 1.0
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    answers = {answer["label"]: answer["score"] for answer in predict(central, [path])[0]["predictions"]}
    for row, score in zip(manifest["labels"], scores):
        assert abs(answers[row["name"]] - score) < 1e-5

    command = [sys.executable, str(central / "example_onnx.py"), path]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in printed.splitlines()]
    found = {row[1]: float(row[2]) for row in rows if row[1] != "unknown"}
    assert found == {name: round(score, 4) for name, score in answers.items()}
