"""What a file does not say about its pictures: normalisation by name, resize and crop, and the names of its classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arch.spec import Preprocessing, Spec
from ..errors import UserError
from .graph import Source
from .recognised import Recognised

# Per channel, in units of raw values 0...255: (x - mean) / std.
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "half": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),  # x / 127.5 - 1: TensorFlow's MobileNets
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),  # x / 255
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # torchvision, timm
    "raw": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
IMAGENET_CLASSES = 1000


def normalised_source(source: Source, name: str) -> Source:
    """The source with the named normalisation. Raises UserError if the name is unknown or the file states its own."""
    mean, std = _named(name, source.graph.channels)
    given = source.normalisation
    if given is None or given.stated:
        raise UserError(f"the normalisation {name!r} contradicts the file, which states its own")
    return replace(source, normalisation=replace(given, mean=mean, std=std, custom=f"{name}, as asked for"))


def with_normalisation(found: Recognised, name: str) -> Recognised:
    """The network with the named normalisation. Raises UserError if the name is unknown."""
    mean, std = _named(name, found.spec.in_channels)
    pre = replace(found.spec.preprocessing, mean=mean, std=std)
    facts = found.facts | {"normalisation": f"{name}, as asked for"}
    return replace(found, spec=replace(found.spec, preprocessing=pre), facts=facts)


def _named(name: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if name not in NORMALISATIONS:
        raise UserError(f"unknown normalisation {name!r}; allowed: {', '.join(NORMALISATIONS)}")
    mean, std = NORMALISATIONS[name]
    return tuple(mean[i % 3] for i in range(channels)), tuple(std[i % 3] for i in range(channels))


def with_usual_crop(found: Recognised) -> Recognised:
    """Resize and crop for a graph, which states neither.

    ImageNet's classifiers: a square of seven eighths of the short side, the field's usual evaluation. The authors' own
    (slim's `preprocess_for_eval`, our `central`) squeezes seven eighths of both sides into a square: three points worse
    on 500 ImageNet pictures for each of four files (docs/decisions.md). Other networks take the whole picture.
    """
    imagenet = found.spec.head.classes == IMAGENET_CLASSES
    pre: Preprocessing = replace(
        found.spec.preprocessing,
        resize="shortest" if imagenet else "squash",
        crop_fraction=0.875 if imagenet else 1.0,
        interpolation="bilinear",
    )
    what = "centre square of 87.5 % of the short side" if imagenet else "the whole picture"
    facts = found.facts | {"crop": f"{what}; not in the file"}
    return replace(found, spec=replace(found.spec, preprocessing=pre), facts=facts)


def class_labels(found: Recognised, given: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], str]:
    """One label for each class (the background has none), and where the names come from.

    1000 classes are ImageNet's, by index and wnid. Raises UserError where `given` has another number of names.
    """
    classes = found.spec.head.classes
    if given:
        if len(given) != classes:
            raise UserError(f"{len(given)} class names were given for a network of {classes} classes")
        return [{"name": name, "index": index} for index, name in enumerate(given)], "as given"
    if classes == IMAGENET_CLASSES:
        from .imagenet import imagenet_labels

        return [dict(label) for label in imagenet_labels()], "ImageNet's 1000, known by their number"
    stated = _without_background(found.spec, found.labels)
    if stated:
        return [{"name": name, "index": index} for index, name in enumerate(stated)], "in the file"
    return [{"name": f"class {index}", "index": index} for index in range(classes)], "by number; the file names none"


def _without_background(spec: Spec, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The file's labels of the classes; none where they are not one each and different."""
    if len(labels) == spec.head.outputs and spec.head.background:
        labels = labels[1:]
    return labels if len(labels) == spec.head.classes == len(set(labels)) else ()
