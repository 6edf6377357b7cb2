"""The catalogue says what its sources say, and every architecture in it is one that we can build."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import mobilenets
from mobilenets.arch.adapt import with_classes, with_resolution
from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec, parse_name
from mobilenets.errors import UserError
from mobilenets.weights.catalog import (
    LIBRARIES,
    OTHER_NETWORKS,
    PublishedWeights,
    catalogue,
    find,
    matching,
    of_architecture,
    spec_of,
)
from mobilenets.weights.timm import networks as timm_networks

ENTRIES = list(catalogue().values())
PUBLISHED = Path(mobilenets.__file__).parent / "papers" / "published"


def published(file: str) -> list[dict[str, str]]:
    with open(PUBLISHED / file, newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_every_library_is_there_in_full() -> None:
    # timm 1.0.31; torchvision 0.28.0; Keras 3.15.1: 32 files of V1, 44 of V2, 12 of V3; Google: 32 + 2 hosted, 21 of
    # V2 and 9 of V3 in slim's README
    assert Counter(entry.library for entry in ENTRIES) == {"timm": 41, "torchvision": 5, "keras": 88, "tflite": 64}
    assert tuple(dict.fromkeys(entry.library for entry in ENTRIES)) == LIBRARIES


def test_names_are_unique_and_aliases_lead_to_one_entry() -> None:
    words = [word.casefold() for entry in ENTRIES for word in dict.fromkeys((entry.name, *entry.aliases))]
    twice = {word for word, count in Counter(words).items() if count > 1}
    assert {word for word in twice if len({find(word).name}) != 1} == set()
    assert twice <= {entry.aliases[0].casefold() for entry in ENTRIES if entry.library == "tflite"}
    for entry in ENTRIES:
        assert all(find(word) is entry for word in (entry.name, entry.name.upper(), *entry.aliases)), entry.name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_is_whole(entry: PublishedWeights) -> None:
    architecture, dot, recipe = entry.name.partition(".")
    assert (architecture, dot) == (entry.architecture, ".")
    assert re.fullmatch(rf"{entry.library}_[a-z0-9_]*in\d+k?(_ft_in1k)?", recipe)
    background = bool(entry.settings.get("background"))
    spec = create_spec(
        entry.architecture,
        classes=entry.classes - background,
        resolution=entry.resolution,
        **entry.settings,
    )
    assert spec.head.outputs == entry.classes
    assert bool(entry.repo) != bool(entry.url)
    assert urlsplit(entry.address).scheme == "https"
    assert len(entry.mean) == len(entry.std) == (0 if entry.quantisation else 3)
    assert (entry.top1 is None) == (entry.top1_source == "")
    assert entry.top1 is None or 0.35 < entry.top1 < 0.86
    assert Path(entry.file).suffix in (".safetensors", ".pth", ".h5", ".tflite")


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.library == "timm"], ids=lambda entry: entry.model)
def test_timm_entries_are_the_networks_that_timm_has(entry: PublishedWeights) -> None:
    network = timm_networks.published(entry.model)
    assert entry.repo.startswith(f"timm/{entry.model}.")
    assert network.spec.norm.eps == entry.settings.get("norm_eps", 1e-5)
    assert network.spec.padding == entry.settings.get("padding", "symmetric")
    same = cost(create_spec(entry.architecture, **entry.settings)).params == cost(network.spec).params
    assert same != (entry.model in OTHER_NETWORKS)
    rows = {float(row["params_m"]) for row in published("timm_mobilenets.csv") if row["model"] == entry.aliases[0]}
    assert rows <= {round(cost(network.spec).params / 1e6, 2)}


def test_timm_top1_is_that_of_the_entry_s_own_resolution() -> None:
    rows = {(row["model"], row["img_size"]): row for row in published("timm_mobilenets.csv")}
    for entry in matching("timm/*"):
        row = rows.get((entry.aliases[0], str(entry.resolution)))
        if entry.top1 is None:
            assert entry.classes > 1000
            continue
        assert row is not None
        assert entry.top1 == pytest.approx(float(row["top1"]) / 100)
        assert entry.crop == float(row["crop_pct"])
        assert entry.interpolation == row["interpolation"]


def test_torchvision_top1_and_size_are_those_of_the_published_table() -> None:
    rows = {row["weights"]: row for row in published("torchvision.csv")}
    for entry in ENTRIES:
        if entry.library == "torchvision":
            enum, _, member = entry.aliases[0].partition("_Weights.")
            row = rows[f"{enum} {member}"]
            assert entry.top1 == pytest.approx(float(row["top1_or_metric"]) / 100)
            assert entry.size_mb == pytest.approx(float(row["file_mb"]) * 2**20 / 1e6, abs=0.005)
            assert cost(create_spec(entry.architecture)).params == int(row["params"])
            assert entry.sha256 in entry.url


def test_slim_s_v2_top1_are_those_of_the_published_table() -> None:
    rows = [row for row in published("v2.csv") if row["table"] == "slim README"]
    assert len(rows) == 22
    for row in rows:
        if (row["alpha"], row["resolution"]) != ("1.0", "224"):  # that one is Google's hosted file
            entry = find(f"mobilenet_v2_{row['alpha']}_{row['resolution']}")
            assert entry.top1 == pytest.approx(float(row["top1"]) / 100)


@pytest.mark.parametrize(
    ("said", "name", "top1"),
    [
        ("mobilenetv3_large_100.ra_in1k", "mobilenet_v3_large.timm_ra_in1k", 0.75784),
        ("mobilenetv3_large_100", "mobilenet_v3_large.timm_ra_in1k", 0.75784),
        ("timm/tf_mobilenetv3_small_minimal_100.in1k", "mobilenet_v3_small_minimal.timm_tf_in1k", 0.62892),
        ("MobileNet_V2_Weights.IMAGENET1K_V2", "mobilenet_v2.torchvision_v2_in1k", 0.72154),
        ("mobilenet_v2_weights.default", "mobilenet_v2.torchvision_v2_in1k", 0.72154),
        ("mobilenet_2_5_128_tf.h5", "mobilenet_v1_025.keras_128_in1k", None),
        ("Mobilenet_V1_0.50_160_quant", "mobilenet_v1_050.tflite_160_uint8_in1k", 0.572),
        ("mobilenet_v2_1.0_224", "mobilenet_v2.tflite_224_in1k", 0.718),
        ("v3-large_224_1.0_uint8", "mobilenet_v3_large.tflite_224_uint8_in1k", 0.739),
    ],
)
def test_the_libraries_own_names_are_understood(said: str, name: str, top1: float | None) -> None:
    assert (find(said).name, find(said).top1) == (name, top1)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("mobilenet_v2", "mobilenet_v2.timm_ra_in1k or mobilenet_v2.torchvision_v1_in1k"),
        ("mobilenet_v2.torchvision_v3_in1k", "mobilenet_v2.torchvision_v"),
        ("mobilenetv3_large_100.ra_in1K0", "mobilenet_v3_large.timm_ra_in1k"),
        ("resnet50", "`mobilenets weights list` shows what there is"),
    ],
)
def test_a_typo_names_what_may_have_been_meant(said: str, meant: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"unknown published weights {said!r}")) as caught:
        find(said)
    assert meant in str(caught.value)


def test_patterns() -> None:
    assert len(matching("")) == len(ENTRIES)
    assert {entry.architecture for entry in matching("mobilenet_v1_025.*")} == {"mobilenet_v1_025"}
    assert [entry.name for entry in matching("IMAGENET1K_V2")] == [
        "mobilenet_v2.torchvision_v2_in1k",
        "mobilenet_v3_large.torchvision_v2_in1k",
    ]
    assert matching("resnet") == []


def test_the_weights_of_an_architecture() -> None:
    listed = [name for architecture in ARCHITECTURES for name in of_architecture(architecture)]
    assert sorted(listed) == sorted(catalogue())
    assert of_architecture("mobilenet_v1_shallow") == ()
    assert "mobilenet_v3_small_075.keras_224_in1k" in of_architecture("mobilenet_v3_small")
    assert {parse_name(name.split(".")[0])[0].name for name in of_architecture("mobilenet_v2")} == {"mobilenet_v2"}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_spec_is_known_without_the_file(entry: PublishedWeights) -> None:
    spec = spec_of(entry)
    assert spec.resolution == entry.resolution
    assert spec.head.outputs == entry.classes
    if entry.library == "timm":
        wanted = with_classes(timm_networks.published(entry.model).spec, spec.head.classes)
        assert cost(with_resolution(spec, 224)).params == cost(with_resolution(wanted, 224)).params


def test_what_a_catalogue_name_costs_needs_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENETS_OFFLINE", "1")
    assert mobilenets.cost("mobilenet_v2.torchvision_v2_in1k").params == 3_504_872
    assert mobilenets.cost("mobilenetv1_100h.ra4_e3600_r224_in1k", classes=3).name == "mobilenet_v1_h"
    with pytest.raises(UserError, match="no such file or folder, and unknown published weights"):
        mobilenets.cost("mobilenet_v2.torchvision_v9_in1k")
