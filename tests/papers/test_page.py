"""docs/papers.md says what the command says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mobilenets.cli.main import main
from mobilenets.papers.document import entry_document
from mobilenets.papers.registry import ENTRIES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "papers.md").read_text(encoding="utf-8")
DOCUMENTS = [entry_document(entry) for entry in ENTRIES.values()]
LIBRARIES = ("timm", "torchvision", "keras")


def test_the_counts_are_those_of_the_entries() -> None:
    groups: dict[str, Callable[[str], bool]] = {
        f"V{generation}": lambda id, start=f"v{generation}.": id.startswith(start)  # type: ignore[misc]
        for generation in (1, 2, 3, 4)
    }
    groups |= {"timm, torchvision, Keras": lambda id: id in LIBRARIES, "together": lambda id: True}
    for name, belongs in groups.items():
        chosen = [document for document in DOCUMENTS if belongs(document["id"])]
        counts = [len(chosen), *(sum(document[key] for document in chosen) for key in ("rows", "compared", "agree"))]
        assert f"| {name} | {' | '.join(map(str, counts))} |" in PAGE


def test_every_table_with_differing_figures_is_listed_with_their_number() -> None:
    listed: dict[str, int] = {}
    for ids, numbers in re.findall(r"^\| (`v[^|]*) \| ([\d, ]+) \|", PAGE, re.MULTILINE):
        listed |= dict(zip(re.findall(r"`(\S+)`", ids), map(int, numbers.split(", ")), strict=True))
    differ = {document["id"]: document["compared"] - document["agree"] for document in DOCUMENTS}
    assert listed == {id: number for id, number in differ.items() if number}
    assert f"The {sum(listed.values())} figures that differ" in PAGE


def test_the_table_is_the_one_that_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```text\n\$ mobilenets ([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert blocks
    for command, shown in blocks:
        assert main(command.split()) == 0
        told = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert [line.rstrip() for line in shown.splitlines()] == told


def test_the_backbone_s_share_is_the_computed_one() -> None:
    row = next(row for row in ENTRIES["v2.table6"].rows if row.name == "MNet V2 + SSDLite")
    assert row.figures["macs"].printed == "800"
    assert f"{int(str(row.figures['backbone_macs'].computed)) / 1e6:.2f} M" in " ".join(PAGE.split())


def test_every_picture_is_there() -> None:
    shown = re.findall(r"!\[[^\]]+\]\((images/papers/\S+\.png)\)", PAGE)
    assert [Path(name).stem for name in shown] == [id for id, entry in ENTRIES.items() if entry.draw]
    for name in shown:
        assert (Path(__file__).resolve().parents[2] / "docs" / name).stat().st_size < 100_000
