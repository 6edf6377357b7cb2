"""Every entry: each figure agrees as printed or has a footnote, and every published cost is printed once."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from mobilenets.arch.cost import cost, separable_ratio
from mobilenets.arch.registry import create_spec
from mobilenets.errors import UserError
from mobilenets.papers.entry import Entry
from mobilenets.papers.lines import lines_of
from mobilenets.papers.registry import ENTRIES, entries

FOLDER = Path(str(files("mobilenets.papers"))) / "published"
EACH = pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.id)


@EACH
def test_every_figure_agrees_or_has_a_footnote_or_a_reason_to_stand(entry: Entry) -> None:
    assert entry.rows
    assert entry.unexplained() == []


@EACH
def test_every_footnote_is_about_a_figure(entry: Entry) -> None:
    used = {note for row in entry.rows for note, _ in entry.notes_on(row)}
    assert [note.text for note in entry.notes if note not in used] == []


@EACH
def test_rows_have_names_of_their_own_and_known_columns(entry: Entry) -> None:
    names = [row.name for row in entry.rows]
    assert len(set(names)) == len(names)
    keys = {column.key for column in entry.columns}
    for row in entry.rows:
        assert row.figures.keys() <= keys
        assert row.figures


# The figures that differ, and no other: row by row --------------------------------------------------------------------

DIFFER = {
    "v1.table1": {"18": "type_stride"},
    "v1.table2": {"Conv 3x3": "macs_share"},
    "v1.table3": {},
    "v1.table4": {"Conv MobileNet": "macs"},
    "v1.table5": {},
    "v1.table6": {},
    "v1.table7": {},
    "v1.table8": {},
    "v1.table9": {"0.50 MobileNet-160": "params"},
    "v2.table2": {},
    "v2.table3": {
        "112x112": "v2_channels v2_bytes",
        "56x56": "v1_bytes",
        "28x28": "v1_bytes",
        "7x7": "v1_bytes v2_bytes",
        "max": "v1_bytes",
    },
    "v2.table4": {"MobileNetV1": "macs", "MobileNetV2": "params", "MobileNetV2 (1.4)": "macs params"},
    "v3.table3": {
        "V3-Large 1 224": "macs",
        "V2 1 224": "params",
        "V3-Small 1 224": "macs params",
        "V3-Small 0.75 224": "macs params",
    },
    "v3.table9": {
        "V3-large 1.25 224": "params",
        "V3-large 0.35 224": "macs params",
        "V3-small 0.75 224": "macs",
        "V3-small 1.0 256": "macs",
        "V3-small 1.0 192": "params",
    },
    "v4.main": {"MNv4-Conv-S 224": "params", "MNv4-Conv-L 384": "params"},
}


@pytest.mark.parametrize("id", DIFFER)
def test_the_cost_figures_of_the_main_tables_agree_but_for_these(id: str) -> None:
    entry = ENTRIES[id]
    found = {}
    for row in entry.rows:
        wrong = [key for key, agrees in entry.agreement(row).items() if not agrees]
        if wrong:
            found[row.name] = " ".join(wrong)
        if row.stands != "another network" and id not in ("v1.table1", "v2.table2", "v2.table3"):
            costs = {key for key in row.figures if key in ("macs", "params", "macs_share", "params_share")}
            assert costs == entry.agreement(row).keys(), f"{row.name} has a cost that is not computed"
    assert found == DIFFER[id]


def test_the_slip_of_v1_table_2_is_footnoted() -> None:
    entry = ENTRIES["v1.table2"]
    row = next(row for row in entry.rows if row.name == "Conv 3x3")
    (note,) = (note for note, _ in entry.notes_on(row))
    assert "1.19" in note.text
    assert row.figures["macs_share"].computed == pytest.approx(0.0191, abs=5e-5)
    assert sum(Decimal(each.figures["macs_share"].printed) for each in entry.rows) == Decimal("99.29")
    assert sum(float(str(each.figures["macs_share"].computed)) for each in entry.rows) == pytest.approx(1)


@pytest.mark.parametrize(
    ("id", "row", "figure", "computed"),
    [
        ("v1.table4", "MobileNet", "macs", 568_740_352),
        ("v1.table4", "MobileNet", "params", 4_231_976),
        ("v1.table4", "Conv MobileNet", "macs", 4_867_293_184),
        ("v1.table3", "Convolution", "macs", 462_422_016),
        ("v2.table4", "MobileNetV2", "params", 3_504_872),
        ("v3.table9", "V3-small 0.75 224", "params", 2_041_872),
        ("v4.main", "MNv4-Hybrid-M 256", "macs", 1_229_240_320 + 41_943_040),
    ],
)
def test_what_is_called_computed_is_the_cost_of_the_network(id: str, row: str, figure: str, computed: int) -> None:
    assert next(each for each in ENTRIES[id].rows if each.name == row).figures[figure].computed == computed


@pytest.mark.parametrize("id", ["v2.table2", "v3.table1", "v3.table2", "v4.conv_small", "v4.hybrid_large"])
def test_the_rows_of_an_architecture_add_up_to_the_network(id: str) -> None:
    names = {"v2.table2": "mobilenet_v2", "v3.table1": "mobilenet_v3_large", "v3.table2": "mobilenet_v3_small"}
    whole = cost(create_spec(names.get(id, id.replace("v4.", "mobilenet_v4_"))))
    for key, total in (("macs", whole.macs), ("params", whole.params)):
        assert sum(int(str(row.figures[key].computed)) for row in ENTRIES[id].rows) == total


def test_v1_table_3_is_the_formula_of_the_paper() -> None:
    rows = {row.name: int(str(row.figures["macs"].computed)) for row in ENTRIES["v1.table3"].rows}
    assert rows["Depthwise Separable Conv"] / rows["Convolution"] == pytest.approx(separable_ratio(3, 512))


def test_backbones_are_less_than_their_detectors() -> None:
    for entry in ENTRIES.values():
        for row in entry.rows:
            if "backbone_macs" in row.figures and row.figures["macs"].printed:
                columns = {column.key: column for column in entry.columns}
                whole = float(str(columns["macs"].published(row.figures["macs"])))
                assert 0.25 * whole < float(str(row.figures["backbone_macs"].computed)) < whole, (entry.id, row.name)


# The published files ------------------------------------------------------------------------------------------------

COSTS = {  # file -> entries that print its lines, and the columns of multiply-adds and parameters
    "v1_slim_checkpoints": ("v1.slim", "macs_m", "params_m"),
    "v1_table04_depthwise_vs_full_conv": ("v1.table4", "million_mult_adds", "million_params"),
    "v1_table05_narrow_vs_shallow": ("v1.table5", "million_mult_adds", "million_params"),
    "v1_table06_width_multiplier": ("v1.table6", "million_mult_adds", "million_params"),
    "v1_table07_resolution": ("v1.table7", "million_mult_adds", "million_params"),
    "v1_table08_popular_models": ("v1.table8", "million_mult_adds", "million_params"),
    "v1_table09_small_popular_models": ("v1.table9", "million_mult_adds", "million_params"),
    "v1_table10_stanford_dogs": ("v1.table10", "million_mult_adds", "million_params"),
    "v1_table12_face_attributes": ("v1.table12", "million_mult_adds", "million_params"),
    "v1_table13_coco_detection": ("v1.table13", "billion_mult_adds", "million_params"),
    "v1_table14_facenet_distillation": ("v1.table14", "million_mult_adds", "million_params"),
    "v2": ("v2.table4 v2.table5 v2.table6 v2.table7 v2.slim v2.deeplab", "madds_m", "params_m"),
    "v3": (
        "v3.table3 v3.table4 v3.table5 v3.table6 v3.table7 v3.table8 v3.table9 v3.slim v3.paddle",
        "madds_m",
        "params_m",
    ),
    "v4": ("v4.main v4.coco v4.mqa v4.timm", "madds_m", "params_m"),
    "timm_mobilenets": ("timm", "gmacs", "params_m"),
    "torchvision": ("torchvision", "gmacs_(ops)", "params"),
    "keras_applications": ("keras", "macs_m", "params_m"),
}
ROWS_ALONE = {
    "v1_table01_architecture": "v1.table1",
    "v1_table02_resource_per_layer_type": "v1.table2",
    "v1_table03_single_layer": "v1.table3",
    "v1_table11_planet": "v1.table11",
}
BASE = {"million": 10**6, "billion": 10**9, "gmacs": 10**9, "params": 1}


def base(column: str) -> int:
    """How many base units one of a CSV column's figures is."""
    known = next((unit for start, unit in BASE.items() if column.startswith(start) and column != "params_m"), None)
    return known or 10**6


@pytest.mark.parametrize("table", COSTS)
def test_every_published_cost_is_printed_once(table: str) -> None:
    ids, *columns = COSTS[table]
    for key, column in zip(("macs", "params"), columns):
        lying = Counter(round(float(line[column]) * base(column)) for line in lines_of(table) if line[column])
        shown: Counter[int] = Counter()
        for entry in (ENTRIES[id] for id in ids.split()):
            units = {each.key: each for each in entry.columns}
            figures = [row.figures[key] for row in entry.rows if key in row.figures and row.figures[key].printed]
            shown.update(round(float(str(units[key].published(figure)))) for figure in figures)
        assert shown == lying


def test_no_published_file_is_left_out() -> None:
    assert {path.stem for path in FOLDER.glob("*.csv")} == COSTS.keys() | ROWS_ALONE.keys()
    for table, id in ROWS_ALONE.items():
        assert len(ENTRIES[id].rows) >= len(lines_of(table))


def test_packaged_tables_equal_the_shared_ones(shared: Path) -> None:
    for path in FOLDER.glob("*.csv"):
        assert path.read_bytes() == (shared / "published" / path.name).read_bytes(), f"copy {path.name} again"


def test_every_line_names_its_source() -> None:
    for path in FOLDER.glob("*.csv"):
        lines = lines_of(path.stem)
        assert len(lines) == len(list(csv.reader(path.read_text(encoding="utf-8").splitlines()))) - 1
        for line in lines:
            assert line["source"], path.name
            assert line["confidence"].startswith("found")


def test_words_mean_ids_groups_patterns_and_all() -> None:
    assert [entry.id for entry in entries(["v1.table4", "V1.TABLE3", "v1.table4"])] == ["v1.table4", "v1.table3"]
    assert {entry.id for entry in entries(["v1"])} == {id for id in ENTRIES if id.startswith("v1.")}
    assert len(entries(["all"])) == len(ENTRIES)
    with pytest.raises(UserError, match=r"unknown table or figure 'v1.tabel4'; did you mean v1.table4"):
        entries(["v1.tabel4"])
    with pytest.raises(UserError, match=r"'nothing'; `mobilenets paper` lists them"):
        entries(["nothing"])


def test_the_list_goes_by_number_within_each_paper() -> None:
    ids = list(ENTRIES)
    assert ids[:14] == [f"v1.table{number}" for number in range(1, 15)]
    assert ids[14:16] == ["v1.fig4", "v1.fig5"]
    assert ids.index("v3.table9") > ids.index("v3.table8") > ids.index("v2.slim")


WORDS = {"O(1)", "Failed", "k"}  # where a paper prints a word in a column of numbers


def test_columns_of_numbers_hold_numbers() -> None:
    for entry in ENTRIES.values():
        for column in entry.columns:
            if column.unit == 1 and column.key not in ("c", "n", "s", "t") and not column.key.endswith("_ms"):
                continue
            for row in entry.rows:
                figure = row.figures.get(column.key)
                assert not figure or not figure.printed or figure.number is not None or figure.printed in WORDS, (
                    entry.id,
                    row.name,
                    column.key,
                    figure,
                )
