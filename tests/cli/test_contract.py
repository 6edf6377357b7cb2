"""Every verb runs on real files, and what it prints as JSON fits its schema in docs/schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from shells import Ended, make_pictures

from mobilenets.cli.main import VERBS, main

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
Ask = Callable[..., Any]
CLASSES = {"cold": 16, "warm": 16, "wet": 16}


def schema(verb: str) -> dict[str, Any]:
    loaded = json.loads((SCHEMAS / f"{verb.replace(' ', '-')}.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture
def ask(command: Callable[..., Ended]) -> Ask:
    """Runs a command with --json, checks the status and the schema, and returns the document."""

    def run(verb: str, *args: object, status: int = 0) -> Any:
        ended = command(*verb.split(), *args, "--json")
        assert ended.status == status, ended
        document = json.loads(ended.out)
        jsonschema.validate(document, schema(verb), jsonschema.Draft202012Validator)
        return document

    return run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of coloured noise."""
    return make_pictures(tmp_path_factory.mktemp("pictures"), CLASSES)


@pytest.fixture(scope="module")
def run(pictures: Path) -> Path:
    """A Run of a few seconds, trained by the command line."""
    folder = pictures.parent / "run"
    arguments = f"{pictures} --out {folder} --model mobilenet_v1 --width 0.25 --resolution 32 --epochs 2 --batch-size 8"
    assert main(["train", *arguments.split()]) == 0
    return folder


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_schema_that_explains_its_keys(name: str) -> None:
    loaded = schema(name)
    jsonschema.Draft202012Validator.check_schema(loaded)
    for place, part in _parts(loaded):
        if place[-2:-1] == ("properties",) and "$ref" not in part:
            assert part.get("description"), f"{name}: {'/'.join(place)} has no description"


def _parts(node: Any, place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    if isinstance(node, list):
        return [found for child in node for found in _parts(child, (*place, "[]"))]
    if not isinstance(node, dict):
        return []
    return [(place, node)] + [found for key, child in node.items() for found in _parts(child, (*place, key))]


def test_no_schema_without_a_verb() -> None:
    names = {verb.replace(" ", "-") for verb in VERBS} | {"bundle"}
    assert {path.stem for path in SCHEMAS.glob("*.json")} <= names


def test_models(ask: Ask) -> None:
    everything = ask("models")
    assert {"mobilenet_v1", "mobilenet_v4_hybrid_large"} <= {row["name"] for row in everything}
    assert [row["name"] for row in ask("models", "V3_small")] == ["mobilenet_v3_small", "mobilenet_v3_small_minimal"]
    assert [row["name"] for row in ask("models", "*_v2")] == ["mobilenet_v2"]
    assert ask("models", "resnet", status=1) == []


def test_cost_of_one_network(ask: Ask) -> None:
    first = ask("cost", "mobilenet_v1")
    assert (first["macs"], first["params"]) == (568_740_352, 4_231_976)
    assert sum(layer["macs"] for layer in first["layers"]) == first["macs"]
    assert ask("cost", "mobilenet_v3_small", "--width", 0.75)["params"] == 2_041_872
    assert ask("cost", "mobilenet_v3_small_075")["params"] == 2_041_872
    small = ask("cost", "mobilenet_v1", "--classes", 3, "--resolution", 128)
    assert small["params"] == 4_231_976 - 997 * 1025
    assert small["resolution"] == 128


def test_cost_of_several_networks_is_a_list_in_their_order(ask: Ask) -> None:
    both = ask("cost", "mobilenet_v2", "mobilenet_v1", "--compare")
    assert [one["name"] for one in both] == ["mobilenet_v2", "mobilenet_v1"]


def test_train_prints_the_same_again_without_training_again(ask: Ask, pictures: Path, run: Path) -> None:
    arguments = f"{pictures} --out {run} --model mobilenet_v1 --width 0.25 --resolution 32 --epochs 2 --batch-size 8"
    document = ask("train", *arguments.split())
    assert document["run"] == str(run)
    assert document["epochs"] == 2
    assert ask("train", *arguments.split()) == document
