"""Writes the catalogue of published weights and ImageNet's class names out of the libraries that publish them.

Run it where timm, torchvision and Keras are installed (where torchvision's operators do not load beside a CPU build of
torch, put a module `tvshim` that declares them on PYTHONPATH), with two pages of Google saved as files:

    https://github.com/tensorflow/tensorflow/blob/0406598a/tensorflow/lite/g3doc/guide/hosted_models.md
    https://github.com/tensorflow/models/blob/0ba83cf0/research/slim/nets/mobilenet/README.md

    PYTHONPATH=src KERAS_BACKEND=torch python benchmarks/record_catalog.py --hosted hosted_models.md --slim README.md

Nothing is downloaded and nothing is made up: what a source does not say stays empty. timm's top-1 are those of its
results-imagenet.csv in src/mobilenets/papers/published, at the resolution and crop of the entry. Every architecture is
held against the library's own network by its number of parameters; status 1 where one differs.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import create_spec, name_with_width
from mobilenets.weights.catalog import PublishedWeights
from mobilenets.weights.timm import networks as timm_networks

os.environ.setdefault("KERAS_BACKEND", "torch")
WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "mobilenets" / "weights"
PUBLISHED = WEIGHTS.parent / "papers" / "published"
COLUMNS = [field.name for field in fields(PublishedWeights)]
HOSTED = "tensorflow/tensorflow tensorflow/lite/g3doc/guide/hosted_models.md @0406598a"
SLIM = "tensorflow/models research/slim/nets/mobilenet/README.md @0ba83cf0"
KERAS_LICENCE = "Apache-2.0"  # of the weights of V1 and V2, after keras.io/applications in 2018; V3 came later
HALF = "127.5 127.5 127.5"  # (x - 127.5) / 127.5
differing: list[str] = []

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description="write the catalogue of published weights")
    parser.add_argument("--hosted", required=True, type=Path, help="TensorFlow's hosted_models.md")
    parser.add_argument("--slim", required=True, type=Path, help="README.md of slim/nets/mobilenet")
    arguments = parser.parse_args()
    with contextlib.suppress(ModuleNotFoundError):
        import_module("tvshim")
    tables = {
        "timm": timm_rows(),
        "torchvision": torchvision_rows(),
        "keras": keras_rows(),
        "tflite": [*hosted_rows(arguments.hosted.read_text()), *slim_rows(arguments.slim.read_text())],
    }
    for library, rows in tables.items():
        print(f"{library}: {write(WEIGHTS / 'published' / f'{library}.csv', COLUMNS, rows)} entries")
    print(f"ImageNet: {write(WEIGHTS / 'imagenet1k.csv', ('index', 'wnid', 'name'), imagenet_rows())} classes")
    print(json.dumps({"differing": differing}))
    return 1 if differing else 0


def write(path: Path, columns: Iterable[str], rows: Iterable[Row]) -> int:
    """Writes a table and returns its number of rows."""
    count = 0
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def common(library: str, architecture: str, recipe: str, settings: Row, classes: int = 1000) -> Row:
    """The columns that every table fills alike."""
    shown = json.dumps(settings) if settings else ""
    create_spec(architecture, **settings)  # raises where our registry has no such network
    return {
        "name": f"{architecture}.{library}_{recipe}",
        "library": library,
        "architecture": architecture,
        "settings": shown,
        "classes": classes,
    }


def numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def fraction(percent: str | float) -> str:
    return f"{float(percent) / 100:.6g}"


def check_params(what: str, ours: int, theirs: int) -> None:
    if ours != theirs:
        differing.append(f"{what}: {ours:,} parameters here, {theirs:,} there")


# timm --------------------------------------------------------------------------------------------------------------


def timm_rows() -> Iterator[Row]:
    """Every pretrained tag of timm's V1 to V4 that our networks can take."""
    import timm
    from timm.models._registry import _model_pretrained_cfgs

    scored = {}
    with open(PUBLISHED / "timm_mobilenets.csv", newline="") as file:
        for row in csv.DictReader(file):
            scored[row["model"], int(row["img_size"]), float(row["crop_pct"])] = (row["top1"], row["source"])
    for tagged, config in sorted(_model_pretrained_cfgs.items()):
        model, _, tag = tagged.partition(".")
        if model not in timm_networks.NAMES or not tag or not config.hf_hub_id:
            continue
        spec = timm_networks.published(model).spec
        module = timm.create_model(model)
        check_params(model, cost(spec).params, sum(p.numel() for p in module.parameters()))
        architecture, settings = timm_networks._PUBLISHED[model]
        settings = settings | norm_and_padding(module)
        variant = re.search(r"_(\d+[dh])$", model)
        recipe = "tf_" if model.startswith("tf_") else f"{variant[1]}_" if variant else ""
        default = _model_pretrained_cfgs[model].hf_hub_id == config.hf_hub_id  # under the bare name: its default
        top1, source = scored.get((tagged, config.input_size[-1], config.crop_pct), ("", ""))
        yield common("timm", architecture, recipe + tag, settings, config.num_classes) | {
            "model": model,
            "aliases": " ".join([tagged, config.hf_hub_id, *([model] if default else [])]),
            "repo": config.hf_hub_id,
            "file": config.hf_hub_filename or "model.safetensors",
            "resolution": config.input_size[-1],
            "crop": f"{config.crop_pct:g}",
            "interpolation": config.interpolation,
            "mean": numbers(255 * value for value in config.mean),
            "std": numbers(255 * value for value in config.std),
            "top1": fraction(top1) if top1 else "",
            "top1_source": source,
            "licence": {"apache-2.0": "Apache-2.0"}[config.license],
        }


def norm_and_padding(module: Any) -> Row:
    """`norm_eps` and `padding` of a torch module where they are not our defaults; one of each, or it raises."""
    from torch import nn

    (eps,) = {layer.eps for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)}
    same = any(type(layer).__name__ == "Conv2dSame" for layer in module.modules())
    return ({"norm_eps": eps} if eps != 1e-5 else {}) | ({"padding": "same"} if same else {})


# torchvision -------------------------------------------------------------------------------------------------------


def torchvision_rows() -> Iterator[Row]:
    """torchvision's weight enums; file sizes are printed in MiB there."""
    import torchvision

    version = torchvision.__version__.split("+")[0]
    for model in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"):
        enum = torchvision.models.get_model_weights(model)
        module = torchvision.models.get_model(model, weights=None)
        settings = norm_and_padding(module)
        check_params(
            f"torchvision {model}", cost(create_spec(model)).params, sum(p.numel() for p in module.parameters())
        )
        home = "mobilenetv2" if model == "mobilenet_v2" else "mobilenetv3"
        for weights in enum:
            crop = weights.transforms()
            default = [f"{enum.__name__}.DEFAULT"] if weights == enum.DEFAULT else []
            recipe = f"{weights.name.rsplit('_', 1)[1].lower()}_in1k"
            yield common("torchvision", model, recipe, settings, len(weights.meta["categories"])) | {
                "model": model,
                "aliases": " ".join([str(weights), *default, Path(weights.url).name]),
                "file": Path(weights.url).name,
                "url": weights.url,
                "size_mb": f"{weights.meta['_file_size'] * 2**20 / 1e6:.2f}",
                "sha256": re.search(r"-([0-9a-f]{8})\.pth$", weights.url)[1],
                "resolution": crop.crop_size[0],
                "crop": f"{crop.crop_size[0] / crop.resize_size[0]:.6g}",
                "interpolation": crop.interpolation.value,
                "mean": numbers(255 * value for value in crop.mean),
                "std": numbers(255 * value for value in crop.std),
                "top1": fraction(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]),
                "top1_source": f"torchvision {version} models/{home}.py",
            }


# Keras -------------------------------------------------------------------------------------------------------------


def keras_rows() -> Iterator[Row]:
    """keras.applications: addresses, widths and resolutions as its code has them, with and without the classifier.

    V2 at 1.3 and 1.4 is published at 224 alone (the checkpoints in slim's README; the code would ask for more).
    """
    from keras.src.applications import mobilenet, mobilenet_v2, mobilenet_v3

    texts = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
    for alpha, text in texts.items():
        for side in (128, 160, 192, 224):
            for end in ("", "_no_top"):
                url = f"{mobilenet.BASE_WEIGHT_PATH}mobilenet_{text}_{side}_tf{end}.h5"
                yield keras_row("mobilenet_v1", "MobileNet", alpha, side, url, top1=("MobileNet (V1)", alpha == 1))
    for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        for side in (96, 128, 160, 192, 224) if alpha <= 1 else (224,):
            for end in ("", "_no_top"):
                kernels = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
                url = f"{mobilenet_v2.BASE_WEIGHT_PATH}{kernels}_{alpha}_{side}{end}.h5"
                yield keras_row("mobilenet_v2", "MobileNetV2", alpha, side, url, top1=("MobileNetV2", alpha == 1))
    for variant, hashes in sorted(mobilenet_v3.WEIGHTS_HASHES.items()):
        size, minimal, alpha = re.fullmatch(r"(small|large)(_minimalistic)?_224_([\d.]+)_float", variant).groups()
        ours = f"mobilenet_v3_{size}{'_minimal' if minimal else ''}"
        for end, md5 in zip(("", "_no_top_v2"), hashes):
            url = f"{mobilenet_v3.BASE_WEIGHT_PATH}weights_mobilenet_v3_{variant}{end}.h5"
            figure = f"v3_{size}{minimal or ''}_{alpha}_224"
            name = f"MobileNetV3{size.capitalize()}"
            yield keras_row(ours, name, float(alpha), 224, url, top1=(figure, True), md5=md5)


def keras_row(
    ours: str, model: str, alpha: float, side: int, url: str, *, top1: tuple[str, bool], md5: str = ""
) -> Row:
    """One file; `top1` names the published figure and whether it is about this width."""
    headless = "_no_top" in url
    settings: Row = {"norm_eps": 1e-3, "padding": "same"}
    if "_v3_" in ours and alpha != 1:
        settings["fixed_stem"] = True
    figure = {} if headless or side != 224 or not top1[1] else keras_figures()[top1[0]]
    recipe = f"{side}_notop_in1k" if headless else f"{side}_in1k"
    return common("keras", name_with_width(ours, alpha), recipe, settings, 0 if headless else 1000) | {
        "model": model,
        "aliases": Path(url).name,
        "file": Path(url).name,
        "url": url,
        "md5": md5,
        "resolution": side,
        "mean": HALF,
        "std": HALF,
        "top1": fraction(figure["top1"]) if figure else "",
        "top1_source": figure.get("source", ""),
        "licence": "" if "_v3_" in ours else KERAS_LICENCE,
    }


def keras_figures() -> dict[str, dict[str, str]]:
    with open(PUBLISHED / "keras_applications.csv", newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


# TFLite ------------------------------------------------------------------------------------------------------------


def hosted_rows(page: str) -> Iterator[Row]:
    """The classifiers of TensorFlow Lite's page of hosted models."""
    pattern = re.compile(
        r"^(Mobilenet_V([12])_([\d.]+)_(\d+)(_quant)?) .*\[tflite&pb\]\((\S+)\) *\| *([\d.]+) Mb *\| *([\d.]+)%", re.M
    )
    for shown, generation, alpha, side, quant, url, size, top1 in pattern.findall(page):
        yield tflite_row(f"mobilenet_v{generation}", float(alpha), int(side), bool(quant), url) | {
            "aliases": " ".join(dict.fromkeys((shown, Path(url).name.removesuffix(".tgz")))),
            "size_mb": size,
            "top1": fraction(top1),
            "top1_source": HOSTED,
        }


def slim_rows(page: str) -> Iterator[Row]:
    """The checkpoints of V2 (but 1.0 at 224, which is hosted) and V3, whose archives hold a .tflite as well."""
    for stem, alpha, side, url, top1 in re.findall(
        r"^\[(mobilenet_v2_([\d.]+)_(\d+))\]\((\S+)\) *\|[^|]*\|[^|]*\| *([\d.]+)", page, re.M
    ):
        if (alpha, side) != ("1.0", "224"):
            row = tflite_row("mobilenet_v2", float(alpha), int(side), False, url)
            yield row | {"aliases": stem, "top1": fraction(top1), "top1_source": SLIM}
    addresses = dict(re.findall(r"^\[([^\]]+)\]: (https://\S+\.tgz)$", page, re.M))
    for label, short, top1 in re.findall(r"^\| \[([^\]]+)\](?:\[(\w+)\])? *\|[^|]*\|[^|]*\| *([\d.]+)", page, re.M):
        url = addresses[short or label]
        size, minimal, side, alpha, precision = re.search(
            r"v3-(small|large)(-minimalistic)?_(\d+)_([\d.]+)_(float|uint8)\.tgz", url
        ).groups()
        ours = f"mobilenet_v3_{size}{'_minimal' if minimal else ''}"
        row = tflite_row(ours, float(alpha), int(side), precision == "uint8", url)
        yield row | {"aliases": Path(url).stem, "top1": fraction(top1), "top1_source": SLIM}


def tflite_row(ours: str, alpha: float, side: int, quantised: bool, url: str) -> Row:
    """One archive of Google's: 1001 outputs, background first, BatchNorm folded."""
    settings: Row = {"background": True, "norm_eps": 1e-3, "padding": "same"}
    if "_v3_" in ours and alpha != 1:
        settings["fixed_stem"] = True
    recipe = f"{side}_uint8_in1k" if quantised else f"{side}_in1k"
    return common("tflite", name_with_width(ours, alpha), recipe, settings, 1001) | {
        "file": f"{Path(url).stem}.tflite",
        "url": url,
        "quantisation": "uint8" if quantised else "",
        "resolution": side,
        "mean": "" if quantised else HALF,
        "std": "" if quantised else HALF,
    }


# ImageNet ----------------------------------------------------------------------------------------------------------


def imagenet_rows() -> Iterator[Row]:
    """The classes: wnids as timm lists them, names as torchvision does; both must mean the same class."""
    import timm
    from torchvision.models._meta import _IMAGENET_CATEGORIES as names

    folder = Path(timm.__file__).parent / "data" / "_info"
    wnids = (folder / "imagenet_synsets.txt").read_text().split()
    pairs = (line.split("\t") for line in (folder / "imagenet_synset_to_lemma.txt").read_text().splitlines())
    lemmas = {wnid: lemma.split(", ") for wnid, lemma in pairs}
    if wnids != sorted(wnids) or not len(set(wnids)) == len(set(names)) == len(names) == 1000:
        raise SystemExit("timm's wnids or torchvision's names are not 1000 different ones in order")
    for index, (wnid, name) in enumerate(zip(wnids, names)):
        if not name.startswith(lemmas[wnid][0]):
            raise SystemExit(f"class {index}, {wnid}: torchvision says {name!r}, timm {lemmas[wnid]}")
        yield {"index": index, "wnid": wnid, "name": name}


if __name__ == "__main__":
    sys.exit(main())
