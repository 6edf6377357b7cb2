"""The report: well-formed, self-contained, escaped, and complete for every state that a Run can be in."""

from __future__ import annotations

import base64
import doctest
import importlib
import json
import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.cli.parsing import parse as parse_arguments
from mobilenets.cli.training import train as train_verb
from mobilenets.errors import UserError
from mobilenets.tasks.calibration import calibration_report
from mobilenets.tasks.classify import classification_report, wilson
from mobilenets.training.recipes.own import default
from mobilenets.training.report import charts, write_report
from mobilenets.training.report.confusion import TITLED, confused_pairs
from mobilenets.training.report.costs import stages
from mobilenets.training.report.facts import read_facts
from mobilenets.training.report.mistakes import SHOWN, SIDE
from mobilenets.training.report.origin import command

NASTY = ['<script>alert("1")</script>', "\"><img src=x onerror='y'>", "R&D &amp; <b>", "tab\x07bell \udcff end"]
VOID = {"meta", "img", "br", "hr", "link", "wbr"}


@dataclass
class Page(HTMLParser):
    """A parsed document: elements with their attributes, texts; fails on a tag that is not closed in order."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def parts(self) -> set[str | None]:
        return {attributes["id"] for attributes in self.named("section")}


def parse(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def make_data(root: Path, names: Iterable[str], each: int = 2) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        for split in ("train", "val"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(each):
                picture = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f"{index}.jpg"), picture)
    return root


def epoch_rows(epochs: int) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, epochs + 1):
        right = 10 + 5 * min(epoch, 3)
        rows.append(
            {
                "epoch": epoch,
                "step": 7 * epoch,
                "train_loss": 2.0 / epoch,
                "lr": 0.001 * (1 - epoch / epochs),
                "images_per_second": 200.0,
                "seconds": 3.5 * epoch,
                "val_loss": 1.8 / epoch,
                "val_top1": right / 50,
                "val_top1_interval": list(wilson(right, 50)),
                "val_images": 50,
                "ema": True,
            }
        )
    return rows


def make_run(
    run: Path, names: list[str], *, epochs: int = 3, data: str = "gone", each: int = 2, skill: float = 1.0
) -> Path:
    """A Run folder as `train` leaves it, evaluated on `each` images of each class; `skill` lifts the true logits."""
    run.mkdir()
    count = len(names)
    spec = create_spec("mobilenet_v1", width=0.25, resolution=64, classes=count)
    files = {"spec.json": spec.to_json(), "labels.json": [{"name": name} for name in names]}
    files["recipe.json"] = {
        "task": "classify",
        "arguments": {
            "data": data,
            "model": "mobilenet_v1",
            "width": 0.25,
            "minutes": None,
            "resolution": 64,
            "epochs": 3,
            "seed": 0,
            "recipe": "auto",
            "batch_size": 64,
            "lr": 0.00123456789,
            "flip": False,
        },
        "recipe": replace(default(), epochs=3).to_json(),
        "data": {
            "path": data,
            "fingerprint": "ab" * 32,
            "form": "folders",
            "classes": count,
            "images": {"train": 900, "selection": 50, "report": each * count},
            "report_name": "val",
            "notes": ["one <file> left aside"],
        },
        "versions": {"mobilenets": "0.1.0", "torch": "2.13.0"},
        "started": "2026-01-02T03:04:05+00:00",
    }
    labels = np.repeat(np.arange(count), each)
    logits = np.random.default_rng(1).normal(size=(len(labels), count))
    logits[np.arange(len(labels)), labels] += skill
    images = [f"val/{names[label]}/{index % each}.jpg" for index, label in enumerate(labels)]
    head = {"network": str(run), "data": data, "split": "val"}
    believed = {"calibration": calibration_report(logits, labels, 1.5, 0.4)}
    files["evaluation.json"] = head | classification_report(logits, labels, names, images) | believed
    for name, content in files.items():
        (run / name).write_text(json.dumps(content), encoding="utf-8")
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in epoch_rows(epochs)))
    return run


def class_names(count: int) -> list[str]:
    return [f"class {index:03d}" for index in range(count)]


@pytest.mark.parametrize("count", [2, 3, 10, 30, 31, 81])
def test_complete_for_any_number_of_classes(tmp_path: Path, count: int) -> None:
    page = parse(write_report(make_run(tmp_path / "run", class_names(count), skill=2.0)))
    assert page.parts == {
        *("verdict", "curves", "confusion", "classes", "confidence", "mistakes"),
        *("cost", "data", "settings", "reproduce"),
    }
    evaluation = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert f"{100 * evaluation['top1']:.1f}\N{NO-BREAK SPACE}%" in page.text
    assert f"of {2 * count}\N{NO-BREAK SPACE}images right" in page.text
    for name in class_names(count):
        assert name in page.text
    tables = [attributes.get("class") or "" for attributes in page.named("table")]
    assert any("matrix" in style for style in tables) == (count <= 30)
    assert any("compact" in (attributes.get("class") or "") for attributes in page.named("svg")) == (count > 30)


def test_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    names = class_names(3)
    data = make_data(tmp_path / "photos", names)
    path = write_report(make_run(tmp_path / "run", names, data=str(data), skill=0.0))
    page = parse(path)
    used = {name for name, _ in page.elements}
    assert not used & {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio", "image", "use"}
    assert page.named("img")
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("srcset", "background", "xlink:href")]
        assert (attributes.get("src") or "data:").startswith("data:image/jpeg;base64,") or "src" not in attributes
        assert "url(" not in (attributes.get("style") or "")
    links = {attributes["href"] for attributes in page.named("a")}
    assert links == {f"#{part}" for part in page.parts if part != "verdict"}
    text = path.read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(" not in text
    policy = next(a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("extra", [0, 40])
def test_class_names_are_only_ever_text(tmp_path: Path, extra: int) -> None:
    page = parse(write_report(make_run(tmp_path / "run", NASTY + class_names(extra), skill=0.0)))
    assert not page.named("script")
    assert not page.named("img")
    assert {name for name, _ in page.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section", "div"),
        *("p", "h1", "h2", "h3", "wbr", "small", "span", "a", "b", "i", "code", "pre", "table", "thead", "tbody", "tr"),
        *("th", "td", "dl", "dt", "dd", "ul", "li", "details", "summary", "figure", "figcaption"),
        *("svg", "g", "path", "rect", "circle", "line", "polygon", "text"),
    }
    for name in NASTY[:3]:
        assert name in page.text
    assert "tab\N{REPLACEMENT CHARACTER}bell \N{REPLACEMENT CHARACTER} end" in page.text
    assert "one <file> left aside" in page.text


def test_before_the_first_epoch_and_before_the_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(2), epochs=2)
    (run / "evaluation.json").unlink()
    page = parse(write_report(run))
    assert page.parts == {"verdict", "curves", "cost", "data", "settings", "reproduce"}
    assert "Not scored yet" in page.text
    assert "After 2 of 3 epochs" in page.text
    assert "40.0\N{NO-BREAK SPACE}%" in page.text  # of the selection images, in epoch 2
    (run / "metrics.jsonl").unlink()
    page = parse(write_report(run))
    assert "No epoch is finished yet." in page.text
    assert not page.named("svg")


def test_one_epoch_is_drawn_as_points(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(2), epochs=1)
    evaluation = json.loads((run / "evaluation.json").read_text())
    del evaluation["calibration"]  # as an older version wrote it
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page = parse(write_report(run))
    assert "confidence" not in page.parts
    dots = [a for a in page.named("circle") if "dot" in (a["class"] or "")]
    assert len(dots) == 5  # top-1, two losses, learning rate, speed
    assert sum("whisker" in (a["class"] or "") for a in page.named("line")) == 1


def test_every_epoch_can_be_read_and_the_best_is_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(2), epochs=60)
    page = parse(write_report(run))
    assert read_facts(run).best == epoch_rows(60)[59]  # the last of many with the same top-1 has the lowest loss
    assert page.text.count("best: epoch 60") == 2
    assert "longer training may reach more" in page.text
    plots_of_confidence = 6  # their own places to point at
    assert len([a for a in page.named("rect") if a.get("class") == "hover"]) == 4 * 60 + plots_of_confidence


def test_the_best_epoch_is_the_one_that_training_keeps(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(2))
    rows = [{"epoch": n, "val_top1": a, "val_loss": b} for n, a, b in ((1, 0.5, 1.0), (2, 0.6, 0.9), (3, 0.6, 0.9))]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = read_facts(run).best
    assert best is not None
    assert best["epoch"] == 2
    parse(write_report(run))  # rows without intervals, speeds and times are drawn too


def test_values_that_are_not_finite_leave_gaps(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(2))
    rows = epoch_rows(5)
    rows[2]["val_loss"] = math.nan
    rows[3]["train_loss"] = math.inf
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = parse(write_report(run))
    drawn = [str(list(a.values())).lower() for name, a in page.elements if name in ("path", "polygon")]
    assert drawn
    assert not [value for value in drawn if "nan" in value or "inf" in value]
    assert "selection loss not finite" in page.text


def test_mistakes_are_shown_as_pictures_of_the_file(tmp_path: Path) -> None:
    names = class_names(20)
    data = make_data(tmp_path / "photos", names)
    run = make_run(tmp_path / "run", names, data=str(data), skill=-9.0)
    mistakes = json.loads((run / "evaluation.json").read_text())["mistakes"]
    (data / mistakes[0]["file"]).unlink()
    (data / mistakes[1]["file"]).write_bytes(b"\xff\xd8 no picture")
    page = parse(write_report(run))
    shown = [a["src"] or "" for a in page.named("img")]
    assert len(shown) == SHOWN - 2
    for source in shown:
        coded = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"), validate=True)
        picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (SIDE, SIDE, 3)
    files = [a["title"] for a in page.named("figure") if (a.get("class") or "") == "picture"]
    assert files == [row["file"] for row in mistakes[:SHOWN]]


def test_data_that_is_gone_is_said_and_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = parse(write_report(make_run(tmp_path / "run", class_names(3), data="hands", skill=-3.0)))
    assert "the data is no longer at hands" in page.text
    assert not page.named("img")
    (tmp_path / "empty").mkdir()
    page = parse(write_report(make_run(tmp_path / "other", class_names(3), data="empty", skill=-3.0)))
    assert "the data could not be read" in page.text


def test_without_mistakes(tmp_path: Path) -> None:
    page = parse(write_report(make_run(tmp_path / "run", class_names(3), skill=50.0)))
    assert "None: all 6 images are right." in page.text
    assert "No image was taken for another class." in page.text
    assert "100.0\N{NO-BREAK SPACE}%" in page.text


def test_classes_without_images_have_no_rates(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(3), skill=50.0)
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["per_class"].append({"label": "unseen", "images": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0})
    evaluation["labels"].append("unseen")
    evaluation["confusion"] = [[*row, 0] for row in evaluation["confusion"]] + [[0] * 4]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page = parse(write_report(run))
    assert "1\N{NO-BREAK SPACE}class has no image in this split" in page.text
    assert "unseen" in page.text


def test_the_compact_matrix_holds_every_cell(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(40), each=3, skill=1.0)
    cells = np.asarray(json.loads((run / "evaluation.json").read_text())["confusion"])
    page = parse(write_report(run))
    drawn = {(int(a["y"] or 0), int(a["x"] or 0)) for a in page.named("rect") if a.get("width") == "1"}
    assert drawn == {(int(i), int(j)) for i, j in zip(*np.nonzero(cells))}
    evaluation = json.loads((run / "evaluation.json").read_text())
    full = np.ones((80, 80), int) + 9 * np.eye(80, dtype=int)
    assert full.size > TITLED
    evaluation |= {"confusion": full.tolist(), "labels": class_names(80)}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page = parse(write_report(run))
    squares = "".join(a["d"] or "" for a in page.named("path") if "class" not in a)
    assert squares.count("z") == full.size


def test_confused_pairs_are_the_largest_mistakes_first() -> None:
    counts = np.array([[5, 1, 0], [2, 1, 2], [2, 0, 9]])
    assert confused_pairs(counts) == [(1, 0), (1, 2), (2, 0), (0, 1)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stages_add_up_to_the_network(name: str) -> None:
    whole = cost(create_spec(name))
    found = stages(whole.layers)
    assert sum(stage.macs for stage in found) == whole.macs
    assert sum(stage.params for stage in found) == whole.params
    assert max(stage.alive_bytes for stage in found) == whole.activation_bytes
    assert found[-1].name == "head"
    assert len(found) <= 10


def test_the_command_asks_for_the_same_again(tmp_path: Path) -> None:
    facts = read_facts(make_run(tmp_path / "my run", class_names(2), data="a folder/it's"))
    verb, rest = shlex.split(command(facts))[1], shlex.split(command(facts))[2:]
    assert verb == "train"
    parsed, _ = parse_arguments(verb, train_verb, rest)
    asked = {key: value for key, value in facts.arguments.items() if value is not None}
    assert {key: parsed[key] for key in asked} == asked | {"flip": "no"}
    assert parsed["out"] == tmp_path / "my run"
    others = {"out", "device", "precision", "restart", "set", "find_lr"}
    assert {key for key in parsed if parsed[key] is not None} <= {*asked, *others}


def test_same_files_same_bytes_and_all_or_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", class_names(3))
    path = write_report(run)
    assert path == run / "report.html"
    first = path.read_bytes()
    assert write_report(run).read_bytes() == first
    whole = (run / "evaluation.json").read_text()
    (run / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation\.json: not valid JSON"):
        write_report(run)
    assert path.read_bytes() == first
    (run / "evaluation.json").write_text(whole)
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2"):
        write_report(run)
    assert not list(run.glob("*.part")) + list(run.glob(".*.part"))


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-6, 1e7), st.integers(4, 9))
def test_ticks_are_few_round_and_inside(offset: float, span: float, at_most: int) -> None:
    low = offset * span
    found = charts.ticks(low, low + span, at_most)
    assert 1 <= len(found) <= at_most
    slack = 1e-6 * span
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    assert found == sorted(set(found))


@pytest.mark.parametrize("name", ["html", "figures", "charts"])
def test_examples(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"mobilenets.training.report.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
