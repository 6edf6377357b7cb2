"""The most confident mistakes, as thumbnails inside the page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...data.dataset import Dataset, Sample, open_dataset
from ...data.decode import ImageError, decode_image
from ...data.preprocess import resize_and_crop
from ...errors import UserError
from .bars import bar
from .facts import Facts
from .figures import count, percent, plural
from .html import Markup, section, tag

SHOWN = 24
SIDE, QUALITY = 176, 82  # pixels and JPEG quality of a thumbnail: sharp on a phone, about 8 kB


def mistakes(facts: Facts) -> Markup:
    """The section of the mistakes; empty where nothing was scored or none were recorded."""
    evaluation = facts.evaluation
    if evaluation is None or "mistakes" not in evaluation:
        return Markup()
    rows = evaluation["mistakes"]
    wrong = evaluation["images"] - round(evaluation["top1"] * evaluation["images"])
    if not rows:
        text = f"None: all {count(evaluation['images'])} images are right." if not wrong else "None were recorded."
        return section("mistakes", "Mistakes", tag("p.lead", text))
    rows = rows[:SHOWN]
    most = f"The {len(rows)} most confident of {plural(wrong, 'wrong answer')}. " if len(rows) > 1 else ""
    said = most + "Look here for wrong labels, doubtful pictures, and what the training images lack."
    dataset, note = _open_data(facts)
    tiles = [_tile(row, picture) for row, picture in zip(rows, _pictures(facts, rows, dataset))]
    return section(
        "mistakes",
        "Mistakes",
        tag("p.lead", said),
        tag("p.note", note) if note else None,
        tag("div.pictures", tiles),
    )


def thumbnail(image: np.ndarray) -> str:
    """The address `data:image/jpeg;base64,…` that holds a uint8 RGB (H, W, 3) picture."""
    coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def _open_data(facts: Facts) -> tuple[Dataset | None, str]:
    """The Run's data where it still lies there, else None and a note. Nothing is downloaded or rendered for this."""
    places = [facts.data.get("path"), (facts.evaluation or {}).get("data")]
    try:
        found = next((place for place in places if place and Path(place).exists()), None)
        if found is None:
            return None, f"No pictures: the data is no longer at {places[0]}."
        return open_dataset(found, labels=facts.arguments.get("labels"), strict=False), ""
    except (UserError, OSError) as error:
        return None, f"No pictures: the data could not be read ({error})."


def _pictures(facts: Facts, rows: Sequence[dict[str, Any]], dataset: Dataset | None) -> Iterator[str | None]:
    """A thumbnail for each row, cut out as for the network; None where its file is gone or broken."""
    wanted = {row["file"] for row in rows}
    samples = {sample.name: sample for sample in dataset.samples if sample.name in wanted} if dataset else {}
    view = replace(facts.spec.preprocessing, resolution=SIDE)
    for row in rows:
        sample = samples.get(row["file"])
        if dataset is None or sample is None:
            yield None
            continue
        image = _read(dataset, sample)
        yield None if image is None else thumbnail(resize_and_crop(image, view))


def _read(dataset: Dataset, sample: Sample) -> np.ndarray | None:
    try:
        return decode_image(dataset.read(sample), min_side=2 * SIDE)
    except (ImageError, OSError):
        return None


def _tile(row: dict[str, Any], picture: str | None) -> Markup:
    file = str(row["file"])
    if picture is None:
        view = tag("div.gone", tag("span", Path(file).name))
    else:
        size = {"width": SIDE, "height": SIDE, "loading": "lazy"}
        view = tag("img", at={"src": picture, "alt": f"{row['label']}, taken for {row['predicted']}", **size})
    return tag(
        "figure.picture",
        view,
        tag(
            "figcaption",
            tag("span.name", row["label"]),
            tag("span.name.answer", tag("i", "→ "), row["predicted"]),
            bar(percent(row["score"], 0), row["score"], "wrong"),
        ),
        at={"title": file},
    )
