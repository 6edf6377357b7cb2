"""`data check`, `data show`, `data pack`: what is wrong with labelled images, how they look, and their shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import output
from .output import Answer

if TYPE_CHECKING:
    from ..data.check import Problem
    from ..data.show import Augment

SHOWN_PROBLEMS = 30


def check(data: str, /, *, labels: str | None = None) -> Answer:
    """Finds what is wrong with labelled images before a network learns it. Status 1 when there are errors.

    Every file is read and decoded. Errors: files that are no whole image, the same bytes in two splits or two classes,
    classes without images. Warnings: near-duplicates, frames of one clip in two splits, few images, imbalance.

    Args:
        data: class folders, lists, a CSV file, or a .zip or .tar of these
        labels: which label column to check where the data has several
    """
    from ..data.check import check as check_data

    report = check_data(data, labels=labels)

    def show() -> None:
        splits = list(next(iter(report.per_class.values()), {}))
        names = list(report.per_class)
        output.table(
            ["class", *(f">{split}" for split in splits)],
            [[name, *(report.per_class[name][split] for split in splits)] for name in names[: output.SHOWN_CLASSES]],
        )
        if len(names) > output.SHOWN_CLASSES:
            output.line(f"… and {len(names) - output.SHOWN_CLASSES} more classes")
        output.line("")
        if report.problems:
            output.table(
                ["", "problem", "where", "what"], [_problem(problem) for problem in report.problems[:SHOWN_PROBLEMS]]
            )
            if len(report.problems) > SHOWN_PROBLEMS:
                output.line(f"… and {len(report.problems) - SHOWN_PROBLEMS} more; --json lists all")
            output.line("")
        for note in report.notes:
            output.line(f"note         {note}")
        output.line(f"images       {output.count(report.images)} in {report.classes} classes ({report.form})")
        output.line(f"problems     {report.errors} errors, {len(report.problems) - report.errors} warnings")

    return Answer(report.to_json(), show, ok=report.ok)


def _problem(problem: Problem) -> list[str]:
    more = f" and {problem.count - 1} more" if problem.count > 1 else ""
    return [problem.severity, problem.kind, f"{problem.file}{more}" or f"class {problem.label}", problem.message]


def show(
    data: str,
    /,
    *,
    out: Path,
    labels: str | None = None,
    columns: int = 8,
    cell: int = 96,
    augment: str | None = None,
    seed: int = 0,
) -> Answer:
    """Draws a contact sheet: a row of pictures for each class, as they lie there or as training sees them.

    Args:
        data: class folders, lists, a CSV file, or a .zip or .tar of these
        out: picture to write, .png or .jpg
        labels: which label column to go by where the data has several
        columns: pictures in a row
        cell: side of a picture in pixels
        augment: show one picture of each class as this recipe of `train` varies it: auto, default, strong, sgd, …
        seed: which pictures are drawn
    """
    from ..data.dataset import open_dataset
    from ..data.show import contact_sheet, save_picture

    dataset = open_dataset(data, labels=labels, strict=False)
    varied = None if augment is None else _augmenter(augment, cell)
    path = save_picture(contact_sheet(dataset, columns=columns, cell=cell, augment=varied, seed=seed), out)
    document: dict[str, Any] = {
        "path": str(path),
        "data": str(data),
        "form": dataset.form,
        "images": len(dataset.samples),
        "classes": len(dataset.classes),
        "augment": augment,
    }
    return Answer(document, lambda: output.line(f"picture      {path}"))


def _augmenter(recipe: str, side: int) -> Augment:
    """What the recipe does to a training picture, at `side` pixels; mixing and erasing work on batches, not shown."""
    import numpy as np

    from ..data.augment import DRAWS, warp
    from ..training.choose import Changes, choose_recipe

    augmentation = choose_recipe(recipe, side, Changes()).augmentation

    def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return warp(image, augmentation, rng.random(DRAWS, dtype=np.float32), side)

    return augment


def pack(
    data: str, /, *, out: Path, labels: str | None = None, shard_mb: float = 128.0, side: int | None = None
) -> Answer:
    """Writes labelled images as tar shards (WebDataset's form) with an index, which every verb reads as DATA.

    The shards are called train, val and test: the parts that training would make of the data, near-duplicates and
    clips on one side. Equal data gives equal bytes; after a kill the same command goes on with the shard it was at.

    Args:
        data: class folders, lists, a CSV file, a .zip or .tar of these, shards, or a Hugging Face data set
        out: folder of the shards; made where it is missing
        labels: which label column to go by where the data has several
        shard_mb: a shard's size in MB, at most
        side: make larger images smaller: short side in pixels; without it the files' bytes are copied
    """
    from ..data.pack import pack as pack_data

    document = pack_data(data, out, labels=labels, shard_mb=shard_mb, side=side)

    def show() -> None:
        shards = document["shards"]
        rows = []
        for split, images in document["splits"].items():
            sizes = [shard["bytes"] for shard in shards if shard["split"] == split]
            rows.append([split, output.count(images), len(sizes), output.megabytes(sum(sizes))])
        output.table(["part", ">images", ">shards", ">size"], rows)
        output.line("")
        for note in document["notes"]:
            output.line(f"note         {note}")
        output.line(f"images       {output.count(document['images'])} in {document['classes']} classes")
        output.line(f"written      {document['written']} of {len(shards)} shards now")
        output.line(f"shards       {document['out']}")

    return Answer(document, show)
