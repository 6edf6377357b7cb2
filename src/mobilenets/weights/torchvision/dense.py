"""torchvision's detectors and segmentation networks on MobileNet V3, and their backbone's tensors as a classifier's.

Source: torchvision/models/detection/{ssdlite,faster_rcnn}.py and segmentation/{lraspp,deeplabv3}.py, 0.28.0.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A network with another task: how its backbone differs from the classifier.

    `dilated`: the last blocks keep the resolution. `eps` is BatchNorm's there. `half`: pixels are (x - 127.5) / 127.5
    instead of ImageNet's. `prefix` stands before the backbone's names; `split` where SSDLite cuts it in two.
    """

    name: str
    task: str
    key: str  # a tensor that only this network has
    prefix: str
    eps: float = 1e-3
    dilated: bool = False
    half: bool = False
    split: bool = False

    @property
    def stem(self) -> str:
        """The name of the backbone's first weight."""
        return self.prefix + ("0.0.0.weight" if self.split else "0.0.weight")


DENSE = (
    Dense(
        name="ssdlite320_mobilenet_v3_large",
        task="a detector",
        key="backbone.features.0.0.0.weight",
        prefix="backbone.features.",
        half=True,
        split=True,
    ),
    Dense(
        name="fasterrcnn_mobilenet_v3_large_fpn",
        task="a detector",
        key="backbone.body.0.0.weight",
        prefix="backbone.body.",
        eps=1e-5,  # `norm_layer` is BatchNorm2d or FrozenBatchNorm2d there, each with its default
    ),
    Dense(
        name="lraspp_mobilenet_v3_large",
        task="a segmentation network",
        key="classifier.cbr.0.weight",
        prefix="backbone.",
        dilated=True,
    ),
    Dense(
        name="deeplabv3_mobilenet_v3_large",
        task="a segmentation network",
        key="classifier.0.convs.0.0.weight",
        prefix="backbone.",
        dilated=True,
    ),
)


def find_dense(names: Container[str]) -> Dense | None:
    """The network with another task whose tensors these are; None for a classifier, or a backbone unlike MobileNet."""
    return next((dense for dense in DENSE if dense.key in names and dense.stem in names), None)


def backbone_names(dense: Dense, names: Iterable[str]) -> dict[str, str]:
    """The file's names of the backbone's tensors -> the classifier's names (`features.`)."""
    inside = [name for name in names if name.startswith(dense.prefix)]
    if not dense.split:
        places = {name: name.removeprefix(dense.prefix) for name in inside}
        # Faster R-CNN's pyramid stands beside the body, under another prefix.
        return {name: f"features.{place}" for name, place in places.items() if place.split(".")[0].isdigit()}
    return _joined(inside, dense.prefix)


def _joined(names: list[str], prefix: str) -> dict[str, str]:
    """SSDLite cuts the block at C4 in two: `0.13` is its expansion, `1.0` the rest of it, `1.K` what follows."""
    paths = {name: name.removeprefix(prefix).split(".") for name in names}
    cut = max((int(path[1]) for path in paths.values() if path[0] == "0"), default=0)
    joined = {}
    for name, (half, place, *rest) in paths.items():
        if half == "0":
            inner = ["block", "0"] if int(place) == cut else []
            joined[name] = ".".join(["features", place, *inner, *rest])
        else:
            inner = ["block"] if place == "0" else []
            joined[name] = ".".join(["features", str(cut + int(place)), *inner, *rest])
    return joined
