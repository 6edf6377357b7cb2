"""Parameters and multiply-adds equal other libraries', recorded in `golden_cost.csv`, and the authors' own tables."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec, parse_name

RECORD = (
    "PYTHONPATH=src python benchmarks/peer_costs.py --csv tests/arch/golden_cost.csv (needs timm, torchvision, keras)"
)
with (Path(__file__).parent / "golden_cost.csv").open(newline="") as _file:
    GOLDEN = list(csv.DictReader(_file))

# Manifests of shared/golden by the settings that make the same network here.
MANIFESTS: dict[str, tuple[str, dict[str, object]]] = {
    "timm/mobilenetv1_100": ("mobilenet_v1", {}),
    "timm/mobilenetv2_050": ("mobilenet_v2_050", {}),
    "timm/mobilenetv2_100": ("mobilenet_v2", {}),
    "timm/mobilenetv2_110d": ("mobilenet_v2_110", {"layer_multiplier": 1.2, "fixed_stem_and_head": True}),
    "timm/mobilenetv3_large_100": ("mobilenet_v3_large", {}),
    "timm/mobilenetv3_small_050": ("mobilenet_v3_small_050", {"fixed_stem": True}),
    "timm/mobilenetv3_small_100": ("mobilenet_v3_small", {}),
    "timm/mobilenetv4_conv_large": ("mobilenet_v4_conv_large", {}),
    "timm/mobilenetv4_conv_small": ("mobilenet_v4_conv_small", {}),
    "timm/mobilenetv4_hybrid_medium": ("mobilenet_v4_hybrid_medium", {}),
    "timm/tf_mobilenetv3_large_100": ("mobilenet_v3_large", {"profile": "authors"}),
    "timm/tf_mobilenetv3_large_minimal_100": ("mobilenet_v3_large_minimal", {"profile": "authors"}),
    "timm/tf_mobilenetv3_small_minimal_100": ("mobilenet_v3_small_minimal", {"profile": "authors"}),
    "torchvision/mobilenet_v2": ("mobilenet_v2", {}),
    "torchvision/mobilenet_v3_large": ("mobilenet_v3_large", {}),
}

# tensorflow/models official/vision/modeling/backbones/mobilenet_test.py @00d83f37, `test_mobilenet_scaling`:
# Keras' count_params (running statistics included) of the network without its classifier.
MODEL_GARDEN = {
    ("mobilenet_v1", 1.0): 3_228_864,
    ("mobilenet_v1", 0.75): 1_832_976,
    ("mobilenet_v2", 1.0): 2_257_984,
    ("mobilenet_v2", 0.75): 1_382_064,
    ("mobilenet_v3_large", 1.0): 4_226_432,
    ("mobilenet_v3_large", 0.75): 2_731_616,
    ("mobilenet_v3_small", 1.0): 1_529_968,
    ("mobilenet_v3_small", 0.75): 1_026_552,
}

# tensorflow/models research/slim/nets/mobilenet_v1.py, its docstring: weights and multiply-adds of each layer.
SLIM_V1_100_224 = """
864 10838016  288 3612672  2048 25690112  576 1806336  8192 25690112  1152 3612672  16384 51380224  1152 903168
32768 25690112  2304 1806336  65536 51380224  2304 451584  131072 25690112  4608 903168  262144 51380224  4608 903168
262144 51380224  4608 903168  262144 51380224  4608 903168  262144 51380224  4608 903168  262144 51380224  4608 225792
524288 25690112  9216 451584  1048576 51380224
"""
SLIM_V1_075_128 = """
648 2654208  216 884736  1152 4718592  432 442368  4608 4718592  864 884736  9216 9437184  864 221184  18432 4718592
1728 442368  36864 9437184  1728 110592  73728 4718592  3456 221184  147456 9437184  3456 221184  147456 9437184
3456 221184  147456 9437184  3456 221184  147456 9437184  3456 221184  147456 9437184  3456 55296  294912 4718592
6912 110592  589824 9437184
"""


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['source']} {row['peer']}".replace(" ", "-"))
def test_cost_equals_a_peer_library(row: dict[str, str]) -> None:
    settings = json.loads(row["settings"]) if row["settings"] else {}
    whole = cost(create_spec(row["network"], **settings), resolution=int(row["resolution"]))
    expected = int(row["params"]), int(row["macs"])
    assert (whole.params, whole.macs) == expected, f"{row['source']} {row['peer']}; recorded by {RECORD}"


def test_golden_rows_cover_every_generation_from_width_025_to_140() -> None:
    widths: dict[str, set[float]] = {}
    for row in GOLDEN:
        architecture, width = parse_name(row["network"])
        widths.setdefault(architecture.name, set()).add(width or 1.0)
        assert row["source"].split()[0] in ("timm", "torchvision", "keras")
    assert widths.keys() == ARCHITECTURES.keys() - {"mobilenet_v1_shallow", "mobilenet_v1_full_conv"}  # papers' alone
    for name in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"):
        assert {0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.4} <= widths[name]
    for name in widths:
        assert {0.25, 0.5, 0.75, 1.0} <= widths[name]
    assert min(Counter(row["source"].split()[0] for row in GOLDEN).values()) >= 9


@pytest.mark.parametrize("name", MANIFESTS)
def test_cost_equals_the_recorded_manifest(name: str, shared: Path) -> None:
    with gzip.open(shared / "golden" / f"{name}.json.gz", "rt") as file:
        manifest = json.load(file)
    network, settings = MANIFESTS[name]
    whole = cost(create_spec(network, **settings), resolution=manifest["input_shape"][2])  # type: ignore[arg-type]
    assert (whole.params, whole.macs) == (manifest["params"], manifest["macs_conv_linear"])


def test_every_classifier_manifest_is_compared(shared: Path) -> None:
    classifiers = set()
    for path in (shared / "golden").glob("*/*.json.gz"):
        with gzip.open(path, "rt") as file:
            if "macs_conv_linear" in json.load(file):
                classifiers.add(f"{path.parent.name}/{path.name.removesuffix('.json.gz')}")
    assert classifiers == MANIFESTS.keys()


@pytest.mark.parametrize(("name", "width"), MODEL_GARDEN)
def test_parameters_equal_the_model_gardens_own_test(name: str, width: float) -> None:
    whole = cost(create_spec(name, width=width, classes=0))
    # V2's classifier follows its last convolution, which the Model Garden counts as part of the backbone, as we do
    assert whole.params + whole.buffers == MODEL_GARDEN[name, width]


@pytest.mark.parametrize(
    ("width", "resolution", "printed"), [(1.0, 224, SLIM_V1_100_224), (0.75, 128, SLIM_V1_075_128)], ids=["100", "075"]
)
def test_v1_layers_equal_the_authors_own_listing(width: float, resolution: int, printed: str) -> None:
    numbers = [int(number) for number in printed.split()]
    expected = list(zip(numbers[::2], numbers[1::2], strict=True))
    whole = cost(create_spec("mobilenet_v1", width=width, classes=0), resolution=resolution)
    assert [(op.weights, op.macs) for op in whole.ops if op.kind != "pool"] == expected
    assert whole.macs == sum(macs for _, macs in expected)


@pytest.mark.parametrize(
    ("name", "settings", "params", "macs"),
    [
        ("mobilenet_v1", {}, 4_231_976, 568_740_352),
        ("mobilenet_v3_small", {"width": 0.75}, 2_041_872, None),
        ("mobilenet_v4_conv_small", {"width": 0.5}, 2_238_952, None),
    ],
)
def test_headline_numbers(name: str, settings: dict[str, float], params: int, macs: int | None) -> None:
    whole = cost(create_spec(name, **settings))  # type: ignore[arg-type]
    assert whole.params == params
    assert macs is None or whole.macs == macs
