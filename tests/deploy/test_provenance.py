"""What a bundle keeps of where its weights come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mobilenets.deploy.card import model_card
from mobilenets.deploy.manifest import run_provenance

START = {"weights": "/home/me/v2.tflite", "sha256": "ab" * 32, "model": "mobilenet_v2", "frozen": "c3", "blocks": 19}
RECIPE: dict[str, Any] = {
    "task": "classify",
    "arguments": {"seed": 1, "data": "/home/me/photos"},
    "recipe": {"name": "transfer"},
    "data": {"path": "/home/me/photos", "fingerprint": "cd" * 32, "images": {"train": 5}, "classes": 2},
    "versions": {"torch": "2.13.0"},
}


def test_a_fine_tuned_run_names_its_weights_without_their_path() -> None:
    source = run_provenance(RECIPE | {"start": START})
    assert source["weights"] == {"model": "mobilenet_v2", "sha256": "ab" * 32, "frozen": "c3"}
    assert "/home/me" not in str(source)
    assert "weights" not in run_provenance(RECIPE | {"start": None})
    assert "weights" not in run_provenance(RECIPE)


def test_imported_weights_name_their_files_and_leave_the_proof_out() -> None:
    files = [{"name": "v2.tflite", "bytes": 9, "sha256": "ef" * 32}]
    imported = {"format": "TFLite", "sources": files, "recognised": {}, "quantisation": "", "proof": {"ok": True}}
    source = run_provenance({"task": "classify", "imported": imported, "versions": {"torch": "2.13.0"}})
    assert (source["kind"], source["sources"]) == ("weights", files)
    assert "proof" not in source


def test_the_card_says_what_training_began_from(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    source = run_provenance(RECIPE | {"start": START})
    text = model_card(manifest | {"provenance": {"source": source}}, {})
    assert "Begun from weights of mobilenet_v2 (SHA-256 `abababababababab`)." in text
