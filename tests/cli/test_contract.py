"""Every verb runs on real files, and what it prints as JSON fits its schema in docs/schemas."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import pytest
import referencing
from shells import Ended, make_pictures

import mobilenets
from mobilenets.cli import training
from mobilenets.cli.main import VERBS, main

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
Ask = Callable[..., Any]
CLASSES = {"cold": 40, "warm": 40, "wet": 40}
TRAINING = ["--model", "mobilenet_v1", "--width", "0.25", "--resolution", "32", "--epochs", "2", "--batch-size", "16"]


def schema(verb: str) -> dict[str, Any]:
    loaded = json.loads((SCHEMAS / f"{verb.replace(' ', '-')}.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def fits(document: Any, verb: str) -> None:
    """Fails unless the document fits the verb's schema; schemas may refer to each other by file name."""
    files = {path.name: referencing.Resource.from_contents(json.loads(path.read_text())) for path in SCHEMAS.iterdir()}
    registry = referencing.Registry().with_resources(files.items())
    jsonschema.Draft202012Validator(schema(verb), registry=registry).validate(document)


@pytest.fixture
def ask(command: Callable[..., Ended]) -> Ask:
    """Runs a command with --json, checks the status and the schema, and returns the document."""

    def run(verb: str, *args: object, status: int = 0) -> Any:
        ended = command(*verb.split(), *args, "--json")
        assert ended.status == status, ended
        document = json.loads(ended.out)
        fits(document, verb)
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
    assert main(["train", str(pictures), "--out", str(folder), *TRAINING]) == 0
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    """A Bundle, exported by the command line."""
    folder = run.with_name("bundle")
    assert main(["export", str(run), "--out", str(folder)]) == 0
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


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_stands_in_the_documentation_with_its_schema(name: str) -> None:
    page = (SCHEMAS.parent / "command-line.md").read_text()
    assert f"| `{name}" in page
    assert f"](schemas/{name.replace(' ', '-')}.json)" in page


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


def test_paper(ask: Ask, tmp_path: Path) -> None:
    listed = ask("paper")
    assert listed["rows"] == []
    assert {"v1.table1", "v1.table9"} <= {entry["id"] for entry in listed["entries"]}
    asked = ask("paper", "v1.table9", "--csv", tmp_path / "figures.csv")
    first, *others = asked["rows"]
    assert first["published"] == {"top1": 0.602, "macs": 76_000_000, "params": 1_320_000}
    assert first["computed"] == {"macs": 76_524_800, "params": 1_331_592}
    assert first["agree"] == {"macs": True, "params": False}
    assert [note["figures"] for note in first["footnotes"]] == [["params"]]
    assert {row["as_published"]["macs"] for row in others} == {"another network"}
    assert len((tmp_path / "figures.csv").read_text().splitlines()) == 1 + 9
    assert asked["written"] == [str(tmp_path / "figures.csv")]
    each = ask("paper", "v1.table8", "v1.table9", "--csv", tmp_path / "tables")["written"]
    assert each == [str(tmp_path / "tables" / f"v1.table{number}.csv") for number in (8, 9)]
    assert Path(each[1]).read_bytes() == (tmp_path / "figures.csv").read_bytes()
    drawn = ask("paper", "v1.fig4", "v2.fig1", "--png", tmp_path / "pictures")
    assert [Path(file).name for file in drawn["written"]] == ["v1.fig4.png", "v2.fig1.png"]
    whole = ask("paper", "all")
    assert len(whole["rows"]) == sum(entry["rows"] for entry in listed["entries"]) > 650


def test_paper_for_a_person(command: Callable[..., Ended]) -> None:
    ended = command("paper", "v1.table2", "v1.table9")
    assert ended.status == 0
    assert "1.9056 [1]" in ended.out
    assert "[1] 1.19 is a slip: the arithmetic gives 1.91, and the printed column sums to 99.29" in ended.out
    assert "as published (another network): Squeezenet; AlexNet" in ended.out
    assert "source: Howard et al. 2017, arXiv:1704.04861, table 9" in ended.out
    refused = command("paper", "v1.tabel9")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith("error: unknown table or figure 'v1.tabel9'; did you mean v1.table9")
    assert command("paper", "--png", "x.png").err.startswith("error: --png needs tables or figures")


def test_compared_networks_stand_relative_to_the_first(ask: Ask) -> None:
    first, second = ask("cost", "mobilenet_v2", "mobilenet_v4_hybrid_medium", "--stages")
    assert first["relative"] == dict.fromkeys(first["relative"], 1.0)
    assert second["relative"]["params"] == second["params"] / first["params"]
    assert "macs_attention" not in second["relative"]
    assert [stage["stride"] for stage in second["stages"]] == [2, 4, 8, 16, 32, None]
    for one in (first, second):
        for key in ("macs", "macs_attention", "params"):
            assert sum(stage[key] for stage in one["stages"]) == one[key]
        assert max(stage["alive_bytes"] for stage in one["stages"]) == one["activation_bytes"]


@pytest.mark.parametrize("file", ["v3.svg", "v3.png"])
def test_plot(ask: Ask, run: Path, bundle: Path, tmp_path: Path, file: str) -> None:
    document = ask("plot", "mobilenet_v3_small", "--width", 0.75, "--detail", "stages", "--out", tmp_path / file)
    assert document["path"] == str(tmp_path / file)
    begins = {".svg": b"<svg ", ".png": b"\x89PNG"}[Path(file).suffix]
    assert Path(document["path"]).read_bytes().startswith(begins)
    for network in (run, bundle):
        ask("plot", network, "--out", tmp_path / file)
        assert Path(document["path"]).read_bytes().startswith(begins)
    several = ask("plot", run, "mobilenet_v1", "--out", tmp_path / file)
    assert (several["networks"], several["detail"]) == ([str(run), "mobilenet_v1"], None)
    assert Path(several["path"]).read_bytes().startswith(begins)


def test_plot_names_the_picture_after_the_network(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask("plot", "mobilenet_v3_small_075", "--classes", 3)["path"] == "mobilenet_v3_small_075.svg"
    assert "linear 3" in Path("mobilenet_v3_small_075.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_paper_train(ask: Ask, pictures: Path, tmp_path: Path) -> None:
    options = ["--train", "--data", pictures, "--out", tmp_path / "out", "--resolution", 16, "--epochs", 2]
    document = ask("paper", "v1.table5", *options, "--seeds", 1)
    (entry,) = document["entries"]
    assert entry["id"] == document["experiment"]["experiment"] == "v1.table5"
    assert [training["seed"] for training in document["experiment"]["trainings"]] == [0, 0]
    assert all(Path(path).is_file() for path in document["written"])
    assert ask("paper", "v1.table5", *options, "--seeds", 1) == document


def test_data_check(ask: Ask, pictures: Path, tmp_path: Path) -> None:
    fine = ask("data check", pictures)
    assert (fine["ok"], fine["images"], fine["classes"]) == (True, 120, 3)
    make_pictures(tmp_path, {"cold": 4, "warm": 4})
    (tmp_path / "cold" / "text.jpg").write_text("no picture")
    (tmp_path / "warm" / "copy.png").write_bytes((tmp_path / "cold" / "001.png").read_bytes())
    found = ask("data check", tmp_path, status=1)
    assert {("not_an_image", "cold/text.jpg"), ("duplicate_across_classes", "cold/001.png")} <= {
        (problem["kind"], problem["file"]) for problem in found["problems"] if problem["severity"] == "error"
    }


def test_data_pack(ask: Ask, pictures: Path, tmp_path: Path) -> None:
    packed = ask("data pack", pictures, "--out", tmp_path / "packed", "--shard-mb", 0.2, "--side", 24)
    assert sum(packed["splits"].values()) == packed["images"] == 120
    assert packed["bytes"] == sum(f.stat().st_size for f in (tmp_path / "packed").iterdir() if f.name != "shards.json")
    again = ask("data pack", pictures, "--out", tmp_path / "packed", "--shard-mb", 0.2, "--side", 24)
    assert again == packed | {"written": 0}
    assert ask("data check", tmp_path / "packed")["form"] == "shards"


@pytest.mark.parametrize("more", [[], ["--augment", "strong"]])
def test_data_show(ask: Ask, pictures: Path, tmp_path: Path, more: list[str]) -> None:
    document = ask("data show", pictures, "--out", tmp_path / "sheet.png", "--columns", 5, "--cell", 32, *more)
    sheet = cv2.imread(document["path"])
    assert sheet.shape[1] > 5 * 32
    assert sheet.shape[0] > 3 * 32


def test_train_prints_the_same_again_without_training_again(ask: Ask, pictures: Path, run: Path) -> None:
    document = ask("train", pictures, "--out", run, *TRAINING)
    assert document["run"] == str(run)
    assert document["epochs"] == 2
    assert ask("train", pictures, "--out", run, *TRAINING) == document


def test_recipes(ask: Ask) -> None:
    rows = {row["name"]: row for row in ask("recipes")}
    assert {"default", "v1_paper", "v2_paper", "v3_paper", "v4_paper", "modern", "quick"} <= rows.keys()
    assert rows["default"]["aliases"] == ["small_data"]
    (one,) = ask("recipes", "v2_paper")
    assert one["settings"] == rows["v2_paper"]["settings"]
    assert one["settings"]["optimiser"]["eps"] == 1.0


def test_settings_by_name_on_the_command_line(ask: Ask, pictures: Path, tmp_path: Path) -> None:
    words = ["--set", "schedule.name=step", "--set=schedule.every=1", "--set", "loss.name=focal"]
    ask("train", pictures, "--out", tmp_path / "run", *TRAINING, *words)
    settings = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert (settings["schedule"]["name"], settings["schedule"]["every"]) == ("step", 1.0)
    assert settings["loss"]["name"] == "focal"


@pytest.mark.slow
def test_find_lr(ask: Ask, pictures: Path, tmp_path: Path) -> None:
    document = ask("train", pictures, "--out", tmp_path / "run", *TRAINING, "--find-lr")
    assert Path(document["files"]["json"]).is_file()
    assert Path(document["files"]["plot"]).is_file()


def test_evaluate(ask: Ask, pictures: Path, run: Path, bundle: Path) -> None:
    held_out = ask("evaluate", run, pictures)
    assert held_out["top1"] == ask("train", pictures, "--out", run, *TRAINING)["report"]["top1"]
    whole = ask("evaluate", bundle, pictures, "--split", "all")
    assert whole["images"] == 120
    assert whole["labels"] == list(CLASSES)
    assert [sum(row) for row in whole["confusion"]] == list(CLASSES.values())


def test_predict(ask: Ask, pictures: Path, run: Path, bundle: Path) -> None:
    sources = [pictures / "cold", pictures / "w*" / "00?.png", pictures / "wet" / "039.png"]
    rows = ask("predict", bundle, *sources, "--top", 2)
    assert len(rows) == 40 + 20 + 1
    assert all(len(row["predictions"]) == 2 for row in rows)
    by_network = ask("predict", run, *sources, "--top", 2)
    assert [row["predictions"][0]["label"] for row in by_network] == [row["predictions"][0]["label"] for row in rows]


def test_predict_says_which_picture_it_could_not_read(ask: Ask, tmp_path: Path, run: Path) -> None:
    make_pictures(tmp_path, {"any": 1})
    (tmp_path / "any" / "text.jpg").write_text("no picture")
    good, bad = ask("predict", run, tmp_path)
    assert "error" not in good
    assert bad["predictions"] == []
    assert bad["error"]


def test_explain(ask: Ask, pictures: Path, bundle: Path, tmp_path: Path) -> None:
    picture = next((pictures / "cold").iterdir())
    document = ask("explain", bundle, picture, "--class", "warm", "--out", tmp_path / "map.svg")
    assert document["class"] == "warm"
    assert Path(document["picture"]).stat().st_size > 1000


def test_quantize(ask: Ask, run: Path, tmp_path: Path) -> None:
    document = ask("quantize", run, "--out", tmp_path / "int8", "--max-drop", 0.5)
    assert len(document["layers"]) > 20
    scored = ask("evaluate", tmp_path / "int8", document["data"])
    assert scored["top1"] == document["top1_int8"]


def test_prune(ask: Ask, run: Path, tmp_path: Path) -> None:
    arguments = ("prune", run, "--out", tmp_path / "pruned", "--keep", 0.8, "--epochs", 1, "--multiple", 4)
    document = ask(*arguments)
    assert document["macs"]["after"] <= 0.8 * document["macs"]["before"]
    assert document["steps"]
    assert ask(*arguments) == document  # the second time it is read, not made
    scored = ask("evaluate", tmp_path / "pruned", json.loads((run / "recipe.json").read_text())["data"]["path"])
    assert scored["top1"] == document["report"]["top1"]


def test_export(ask: Ask, run: Path, tmp_path: Path) -> None:
    document = ask("export", run, "--to", "onnx", "--out", tmp_path / "bundle")
    (row,) = document["files"]
    file = tmp_path / "bundle" / row["path"]
    assert row["size_mb"] == file.stat().st_size / 1e6
    manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    fits(manifest, "bundle")


def test_verify(ask: Ask, pictures: Path, bundle: Path) -> None:
    assert ask("verify", bundle, pictures, "--split", "all")["ok"] is True
    few = ask("verify", bundle, pictures, "--split", "all", "--images", 9, status=1)
    assert (few["ok"], few["images"]) == (False, 9)
    assert few["reasons"]


def test_what_bench_cannot_do_is_one_line(command: Callable[..., Ended], bundle: Path) -> None:
    for args, words in (
        (["--threads", "two"], "--threads: expected whole numbers separated by commas, got 'two'"),
        (["--plot", "bench.gif"], "bench.gif: a drawing is written as .svg or .png"),
        (["--binary", "benchncnn"], "--binary benchncnn: only with --device"),
        (["--device", "ssh:x", "--sustained"], "--sustained measures this machine"),
        (["--device", "phone"], "device 'phone' is not possible; allowed: adb:SERIAL or ssh:HOST"),
    ):
        ended = command("bench", bundle, *args)
        assert ended.status == 2
        assert words in ended.err
        assert len(ended.err.splitlines()) == 1


def test_bench(ask: Ask, bundle: Path) -> None:
    document = ask("bench", bundle, "--seconds", 0.2, "--threads", "1", "--plot", bundle.with_suffix(".svg"))
    assert document["plot"] == str(bundle.with_suffix(".svg"))
    assert Path(document["plot"]).is_file()
    assert document["files"][0]["ran"]["precisions"].keys() == {"float32"}
    long = ask("bench", bundle, "--seconds", 0.2, "--sustained")
    assert long["files"][0]["sustained"]["verdict"]
    assert [row["threads"] for row in document["files"]] == [1]


def test_cost_takes_what_every_verb_takes(ask: Ask, run: Path, bundle: Path) -> None:
    named = ask("cost", "mobilenet_v1_025", "--classes", 3, "--resolution", 32)
    for network in (run, bundle):
        found = ask("cost", network)
        assert (found["params"], found["name"], found["resolution"]) == (named["params"], named["name"], 32)
    assert ask("cost", run, "--resolution", 64)["macs"] == 4 * (found["macs"] - 768) + 768


@pytest.mark.slow
def test_demo(ask: Ask, tmp_path: Path) -> None:
    # the test split holds a fifth of the pictures, and verify asks for 100
    small = ["--images", 600, "--resolution", 32, "--minutes", 0.1, "--model", "mobilenet_v1_025"]
    document = ask("demo", "--out", tmp_path / "demo", *small)
    assert Path(document["report"]).is_file()
    assert ask("cost", document["bundle"])["resolution"] == 32


def test_the_command_line_trains_with_every_setting_that_python_has() -> None:
    in_python = set(inspect.signature(mobilenets.train).parameters)
    assert set(inspect.signature(training.train).parameters) == in_python


@pytest.mark.parametrize(
    "args", ["data check DATA", "evaluate RUN DATA", "predict RUN DATA/cold", "verify BUNDLE DATA", "bench BUNDLE"]
)
def test_a_person_reads_a_table_without_escape_codes(
    command: Callable[..., Ended], pictures: Path, run: Path, bundle: Path, args: str
) -> None:
    places = {"RUN": run, "DATA": pictures, "BUNDLE": bundle}
    for word, place in places.items():
        args = args.replace(word, str(place))
    ended = command(*args.split(), *(["--seconds", "0.1"] if args.startswith("bench") else []))
    assert ended.status in (0, 1)
    assert "──" in ended.out
    assert "\x1b" not in ended.out
