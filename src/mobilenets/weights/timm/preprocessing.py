"""How timm's networks want their pictures: from a folder's config.json, else timm's defaults for the published weights.

`timm_default_cfgs.csv` holds those defaults (timm 1.0.31, `default_cfgs` in timm/models/efficientnet.py and
mobilenetv3.py), for each architecture the default first; `benchmarks/peer_weights.py --cfgs` writes it.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, cast

from ...arch.spec import Interpolation, Preprocessing
from ...errors import UserError
from .networks import name_in


class Cfg(NamedTuple):
    """A line of timm's defaults: a recipe's tag, its released file, and the preprocessing in timm's units (0...1)."""

    architecture: str
    tag: str
    file: str
    input_size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Preprocessing, and where it is known from."""

    preprocessing: Preprocessing
    source: str


@cache
def default_cfgs() -> tuple[Cfg, ...]:
    """timm's defaults, in timm's order."""
    text = resources.files(__package__).joinpath("default_cfgs.csv").read_text(encoding="utf-8")
    return tuple(
        Cfg(
            architecture=row["architecture"],
            tag=row["tag"],
            file=row["file"],
            input_size=int(row["input_size"]),
            crop_pct=float(row["crop_pct"]),
            interpolation=row["interpolation"],
            mean=tuple(map(float, row["mean"].split())),
            std=tuple(map(float, row["std"].split())),
            classes=int(row["classes"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def find_cfg(text: str) -> Cfg | None:
    """The defaults that a name means: a released file's, `architecture.tag`'s, or the architecture's; None without.

    >>> find_cfg("mobilenetv4_conv_small.e3600_r256_in1k").input_size, find_cfg("mobilenetv2_140").tag
    (256, 'ra_in1k')
    """
    for cfg in default_cfgs():
        if cfg.file and cfg.file == text:
            return cfg
    name = name_in(text)
    fitting = [cfg for cfg in default_cfgs() if cfg.architecture == name]
    tagged = [cfg for cfg in fitting if text[len(name) + 1 :].startswith(cfg.tag)]
    return max(tagged, key=lambda cfg: len(cfg.tag)) if tagged else fitting[0] if fitting else None


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of a folder of the Hugging Face Hub, or beside a file of such a folder; {} without one.

    Raises UserError where it cannot be read or is another library's.
    """
    place = (path if path.is_dir() else path.parent) / "config.json"
    if not place.is_file():
        return {}
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: no readable JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{place}: holds a {type(config).__name__}; allowed is an object with keys")
    if "architecture" not in config and ("model_type" in config or "architectures" in config):
        kind = config.get("model_type") or config.get("architectures")
        raise UserError(f"{place}: a model of transformers ({kind}); allowed is timm's format, with 'architecture'")
    return config


def from_config(config: dict[str, Any], base: Preprocessing, where: str) -> Wanted | None:
    """What `pretrained_cfg` (older: the config itself) says; None where it says nothing. Raises UserError."""
    cfg = config.get("pretrained_cfg", config)
    keys = ("input_size", "crop_pct", "interpolation", "mean", "std")
    if not isinstance(cfg, dict) or not any(cfg.get(key) for key in keys):
        return None
    try:
        size = cfg.get("input_size") or (3, base.resolution, base.resolution)
        if size[-1] != size[-2]:
            raise UserError(f"{where}: input_size {size} is no square; a network here takes a square picture")
        found = _preprocessing(
            int(size[-1]),
            float(cfg.get("crop_pct") or 0.875),
            str(cfg.get("interpolation") or "bilinear"),
            tuple(float(each) for each in cfg.get("mean") or (0.485, 0.456, 0.406)),
            tuple(float(each) for each in cfg.get("std") or (0.229, 0.224, 0.225)),
            where,
        )
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise UserError(f"{where}: pretrained_cfg cannot be read ({error})") from None
    if cfg.get("crop_mode") == "squash":
        found = replace(found, resize="squash", crop_fraction=1.0)
    return Wanted(preprocessing=found, source=f"stated by the file ({where})")


def from_defaults(cfg: Cfg, source: str) -> Wanted:
    """timm's defaults as preprocessing; `source` says why these."""
    found = _preprocessing(cfg.input_size, cfg.crop_pct, cfg.interpolation, cfg.mean, cfg.std, cfg.architecture)
    return Wanted(preprocessing=found, source=source)


def _preprocessing(
    size: int, crop: float, interpolation: str, mean: tuple[float, ...], std: tuple[float, ...], where: str
) -> Preprocessing:
    if interpolation not in ("bilinear", "bicubic"):
        raise UserError(f"{where}: interpolation {interpolation!r} is unknown; allowed: bilinear, bicubic")
    fits = size >= 1 and 0 < crop <= 1 and len(mean) == len(std) >= 1 and min(std) > 0
    if not fits or not all(map(math.isfinite, (*mean, *std))):
        raise UserError(f"{where}: size {size}, crop {crop}, mean {mean}, std {std} are no preprocessing")
    return Preprocessing(
        resolution=size,
        crop_fraction=_crop_fraction(size, crop),
        interpolation=cast(Interpolation, interpolation),
        mean=tuple(round(255 * each, 6) for each in mean),
        std=tuple(round(255 * each, 6) for each in std),
    )


def _crop_fraction(size: int, crop: float) -> float:
    """timm resizes the short side to floor(size / crop), we to the nearest whole number: the fraction that gives it."""
    short = math.floor(size / crop)  # `transforms_imagenet_eval` in timm/data/transforms_factory.py
    return crop if int(size / crop + 0.5) == short else size / short
