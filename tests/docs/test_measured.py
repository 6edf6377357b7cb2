"""The figures of README.md are those of benchmarks/results."""

from __future__ import annotations

import csv
import json
import re
from statistics import mean

import pytest
from markdown_pages import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (ROOT / "benchmarks" / "results" / name).read_text().splitlines()]


def row_of_the_table(begin: str) -> str:
    found = re.search(rf"^\| {re.escape(begin)}.*$", TEXT, re.MULTILINE)
    assert found is not None, begin
    return found[0]


def test_the_training_step() -> None:
    whole = [
        row for row in rows("train_step.jsonl") if not {"--match", "--compile"} & set(str(row["command"]).split())
    ]  # every arm of every library
    latest = {row["network"]: row["ratio_to_timm_best"][1] for row in whole}  # type: ignore[index]
    ratios = [latest[name] for name in ("v1", "v2", "v3_large", "v4_conv_small")]
    assert " / ".join(f"{ratio:.2f}" for ratio in ratios) in row_of_the_table("a training step of V1 / V2 / V3-Large")


def test_against_torch_compile() -> None:
    (row,) = [row for row in rows("train_step.jsonl") if "--compile" in str(row["command"])]
    speed, (low, middle, high) = row["images_per_second"], row["ratio_to_timm_best"]  # type: ignore[misc]
    page = (ROOT / "docs" / "training-speed.md").read_text(encoding="utf-8")
    compiled = max(value for arm, value in speed.items() if arm.startswith("timm") and arm.endswith("compile"))  # type: ignore[union-attr]
    ours = max(value for arm, value in speed.items() if arm.startswith("ours"))  # type: ignore[union-attr]
    assert f"timm compiled makes {compiled:.1f} images per second, ours {ours:.1f}" in page
    assert f"{middle:.2f} times ({low:.2f}-{high:.2f})" in page


def test_the_loader() -> None:
    (row,) = [row for row in rows("loader.jsonl") if row["size"] == 224 and row["threads"] == 1]
    ratios = row["ratios"]
    assert isinstance(ratios, dict)
    shown = f"{ratios['cold/pillow']['median']:.1f} / {ratios['warm/pillow']['median']:.1f} times as fast"
    assert shown in row_of_the_table("the loader on 512-px JPEGs")


@pytest.mark.parametrize("arm", ["ours", "timm"])
def test_from_scratch_against_timm(arm: str) -> None:
    scores = [row["top1"] for row in rows("from_scratch.jsonl")
              if (row["task"], row["arm"], row["minutes"]) == ("rps", arm, 4.0)]  # fmt: skip
    assert len(scores) == 3
    line = row_of_the_table("`rps_hands`, 470 images, V3-Small, 128 px, from scratch, 4 minutes")
    assert f"{100 * mean(scores):.1f} %" in line  # type: ignore[type-var]


@pytest.mark.parametrize("arm", ["taught", "alone"])
def test_distillation(arm: str) -> None:
    found = [row for row in rows("distill.jsonl") if row["arm"] == arm and not row["choosing"]]
    means = []
    for task in ("rps", "cifar"):
        scores = [row["top1"] for row in found if row["task"] == task]
        assert len(scores) == 3
        means.append(f"{100 * mean(scores):.1f}")  # type: ignore[type-var]
    assert f"{' / '.join(means)} %" in row_of_the_table("a V3-Small 0.25 / V1 0.25 taught by a V2")


def test_imported_weights() -> None:
    lines = (ROOT / "benchmarks" / "results" / "imported_weights.csv").read_text().splitlines()
    (row,) = [line.split(",") for line in lines if line.startswith("V2 1.0 224 uint8,")]
    source, ours = float(row[5]), float(row[6])
    line = row_of_the_table("the published uint8 V2 on 500 ImageNet pictures")
    assert f"| {ours:.1%} |".replace("%", " %") in line
    assert f"LiteRT {source:.1%}".replace("%", " %") in line


def test_what_int8_keeps() -> None:
    with (ROOT / "benchmarks" / "results" / "quantization.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    line = row_of_the_table("int8 of four published V1 and V2")
    for scheme in ("adviser (", "NNCF, fast", "onnxruntime's quantiser, per channel"):
        kept = [
            next(row for row in found if row["network"] == name and row["scheme"].startswith(scheme))["agreement"]
            for name in ("v1_025_keras", "v1_025_tflite", "v1_075", "v2")
        ]
        assert " / ".join(f"{100 * float(each):.1f}" for each in kept) in line


def test_what_squeeze_and_excite_costs() -> None:
    page = (ROOT / "docs" / "papers-to-code" / "v3.md").read_text(encoding="utf-8")
    for row in {str(row["network"]): row for row in rows("squeeze_excite.jsonl")}.values():
        ratio = row["ratio"]
        assert isinstance(ratio, list)
        least, median, most = ratio
        times = f"| {row['with_ms']:.2f} ms | {row['without_ms']:.2f} ms |"
        assert f"| `{row['network']}` {times} {median:.2f} ({least:.2f}-{most:.2f}) |" in page


def test_pruning() -> None:
    latest = {row["seed"]: row["arms"] for row in rows("prune.jsonl")}
    line = row_of_the_table("V2 cut to half of its measured latency")
    page = (ROOT / "docs" / "pruning.md").read_text(encoding="utf-8")
    for arm in ("base", "netadapt", "uniform", "width"):
        scores = [f"{100 * latest[seed][arm]['top1']:.1f}" for seed in sorted(latest)]  # type: ignore[index, type-var]
        assert f"{' / '.join(scores)} %" in page
        assert arm == "width" or " / ".join(scores) in line
    times = [f"{latest[seed]['netadapt']['latency']:.2f}" for seed in sorted(latest)]  # type: ignore[index, type-var]
    assert f"{' / '.join(times)} | 45.6 / 40.4" in page


def test_the_fastest_file() -> None:
    """Against PyTorch eager in the same run, and beside it what torch.onnx.export gives by its defaults."""
    latest = {row["network"]: row["arms"] for row in rows("runtimes.jsonl") if row["threads"] == 1}
    theirs = {"PyTorch eager", "torchvision eager", "timm eager", "Keras predict", "plain ONNX export"}
    best, plain = [], []
    for name in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"):
        ms = {arm: told["ms"] for arm, told in latest[name].items()}  # type: ignore[attr-defined]
        best.append(f"{ms['PyTorch eager'] / min(took for arm, took in ms.items() if arm not in theirs):.1f}")
        plain.append(f"{ms['PyTorch eager'] / ms['plain ONNX export']:.1f}")
    line = row_of_the_table("the fastest file of V1 / V2 / V3-Large")
    assert f"{' / '.join(best)} times as fast" in line
    assert f"plain ONNX export {' / '.join(plain)}" in line


def test_what_branches_cost() -> None:
    page = (ROOT / "docs" / "reparam.md").read_text(encoding="utf-8")
    latest = {str(row["network"]): row for row in rows("reparam_step.jsonl")}
    names = ("V1", "V2", "V3-Small", "V4 Conv-S")
    assert len(latest) == len(names)
    for name, row in zip(names, latest.values()):
        times = [*row["step"].values(), row["forward_4"]]  # type: ignore[attr-defined]
        figures = " | ".join(f"{each['median']:.2f}" for each in times)
        assert f"| {name} | {figures} |" in page
