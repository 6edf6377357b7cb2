"""`weights list`, `weights get` and the weights in `models`: what they print, and that it fits the schemas."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from shells import Ended

from hub_server import Places, places
from mobilenets.weights.catalog import catalogue, find

__all__ = ["places"]
SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
WEIGHTS = bytes(range(256)) * 100
TIMM = find("mobilenet_v2.timm_ra_in1k")
Ask = Callable[..., Any]


@pytest.fixture
def ask(command: Callable[..., Ended]) -> Ask:
    """Runs a verb with --json, checks the status and the schema, and returns the document."""

    def run(verb: str, *args: object, status: int = 0) -> Any:
        ended = command(*verb.split(), *args, "--json")
        assert ended.status == status, ended
        document = json.loads(ended.out)
        schema = json.loads((SCHEMAS / f"{verb.replace(' ', '-')}.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(document)
        return document

    return run


def test_list_everything(ask: Ask) -> None:
    rows = ask("weights list")
    assert [row["name"] for row in rows] == list(catalogue())
    assert all(row["top1"] is None or row["top1_source"] for row in rows)


def test_list_what_fits(ask: Ask) -> None:
    (row,) = ask("weights list", "MobileNet_V2_Weights.IMAGENET1K_V2")
    assert (row["top1"], row["sha256"], row["md5"], row["licence"]) == (0.72154, "7ebf99e0", None, None)
    assert (row["mean"], row["crop"]) == ([123.675, 116.28, 103.53], 0.965517)
    (row,) = ask("weights list", "mobilenet_v1_025.tflite_128_uint8_in1k")
    assert (row["classes"], row["quantisation"], row["mean"], row["settings"]["background"]) == (
        1001,
        "uint8",
        [],
        True,
    )
    assert ask("weights list", "resnet", status=1) == []


def test_get_and_then_from_the_cache(ask: Ask, places: Places) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    assert ask("weights list", TIMM.name)[0]["cached"] is False
    first = ask("weights get", "mobilenetv2_100.ra_in1k")
    assert first["name"] == TIMM.name
    assert Path(first["path"]).read_bytes() == WEIGHTS
    assert (first["bytes"], first["from_cache"]) == (len(WEIGHTS), False)
    assert first["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    asked = len(places.asked)
    assert ask("weights get", TIMM.name) == first | {"from_cache": True}
    assert ask("weights list", TIMM.name)[0]["cached"] is True
    assert len(places.asked) == asked


def test_a_person_reads_a_table_with_sources(command: Callable[..., Ended]) -> None:
    ended = command("weights", "list", "v2.torchvision")
    assert ended.status == 0
    assert "72.2 % [1]" in ended.out
    assert "[1] torchvision 0.28.0 models/mobilenetv2.py" in ended.out
    ended = command("weights", "list", "resnet")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == "no published weights' name fits 'resnet'\n"


def test_a_person_reads_where_the_weights_are(command: Callable[..., Ended], places: Places) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    ended = command("weights", "get", TIMM.name)
    assert ended.status == 0
    assert ended.out.splitlines()[1] == "size         0.03 MB"
    assert ended.err == f"{TIMM.name} from {places.address}/{TIMM.repo}; licence: Apache-2.0\n"
    again = command("weights", "get", TIMM.name)
    assert again.out.splitlines()[1] == "size         0.03 MB, was in the cache"
    assert again.err == ""


def test_one_line_for_what_cannot_be_had(
    command: Callable[..., Ended], places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = command("weights", "get", "mobilenet_v2.torchvision_v3_in1k")
    assert unknown.status == 2
    assert "did you mean mobilenet_v2.torchvision_v2_in1k" in unknown.err
    absent = command("weights", "get", "mobilenet_v1.keras_224_in1k")
    assert (absent.status, absent.out) == (2, "")
    assert absent.err.splitlines()[-1].endswith("mobilenet_1_0_224_tf.h5: the server answers 404 (Not Found)")
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    offline = command("weights", "get", TIMM.name)
    assert offline.status == 2
    assert offline.err.count("\n") == 1
    assert "not in the cache, and MOBILENETS_OFFLINE=1 forbids" in offline.err


def test_a_missing_library_is_named_with_its_extra(
    command: Callable[..., Ended], places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    ended = command("weights", "get", TIMM.name)
    assert ended.status == 2
    assert 'need huggingface_hub: pip install "mobilenets[weights]"' in ended.err


def test_models_names_the_weights(ask: Ask) -> None:
    rows = {row["name"]: row["weights"] for row in ask("models")}
    assert rows["mobilenet_v1_shallow"] == []
    assert "mobilenet_v3_small_075.timm_lamb_in1k" in rows["mobilenet_v3_small"]
    assert sum(len(weights) for weights in rows.values()) == len(catalogue())


@pytest.mark.parametrize("verb", ["weights list", "models"])
def test_neither_imports_torch(verb: str) -> None:
    code = (
        f"import sys; from mobilenets.cli.main import main; main({verb.split()!r} + ['--json']);"
        "print([m for m in ('torch', 'cv2', 'huggingface_hub') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
