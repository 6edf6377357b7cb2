"""`weights list` and `weights get`: the published ImageNet weights, and one of them in the cache, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import console
from . import output
from .output import Answer

if TYPE_CHECKING:
    from ..weights.catalog import PublishedWeights


def list_weights(pattern: str = "", /) -> Answer:
    """Lists the published ImageNet weights of timm, torchvision, Keras and Google's TFLite files, by name.

    What nobody publishes stays empty: a size, an accuracy, a licence of the weights themselves. Top-1 is that of the
    source, on ImageNet's 50,000 validation images, with its own preprocessing. Status 1 where no name fits the pattern.

    Args:
        pattern: part of a name (v3_small), or a whole one with * and ? (mobilenet_v2*.keras_*)
    """
    from ..weights.catalog import matching
    from ..weights.hub import cached

    entries = matching(pattern)
    rows = [_document(entry) | {"cached": cached(entry) is not None} for entry in entries]

    def show() -> None:
        if not rows:
            console.say(f"no published weights' name fits {pattern!r}")
            return
        sources = {source: number for number, source in enumerate(dict.fromkeys(_sources(entries)), 1)}
        output.table(
            ["name", "library", ">top-1", ">classes", ">resolution", ">size", "licence", "cached"],
            [_shown(row, sources) for row in rows],
        )
        output.line("")
        for source, number in sources.items():
            output.line(f"[{number}] {source}")

    return Answer(rows, show, ok=bool(rows))


def _sources(entries: list[PublishedWeights]) -> list[str]:
    return [entry.top1_source for entry in entries if entry.top1_source]


def _document(entry: PublishedWeights) -> dict[str, Any]:
    """The entry as JSON data: null for what is not published."""
    return {key: None if value == "" else value for key, value in entry.to_json().items()} | {"address": entry.address}


def _shown(row: dict[str, Any], sources: dict[str, int]) -> list[object]:
    top1 = "" if row["top1"] is None else f"{100 * row['top1']:.1f} % [{sources[row['top1_source']]}]"
    return [
        row["name"],
        row["library"],
        top1,
        row["classes"] or "none",
        row["resolution"],
        "" if row["size_mb"] is None else f"{row['size_mb']:.1f} MB",
        row["licence"] or "",
        "yes" if row["cached"] else "",
    ]


def get(name: str, /) -> Answer:
    """Fetches published weights into the cache, checked, and says where they are. The second time nobody is asked.

    A transfer that breaks off goes on. HF_ENDPOINT names another Hugging Face Hub, MOBILENETS_MIRROR another place
    for the other files, MOBILENETS_CACHE the cache; MOBILENETS_OFFLINE=1 or HF_HUB_OFFLINE=1 forbids downloads.

    Args:
        name: as `mobilenets weights list` shows it, or the library's own: mobilenetv3_large_100.ra_in1k
    """
    from ..digest import digest
    from ..weights.catalog import find
    from ..weights.hub import cached, fetch

    entry = find(name)
    there = cached(entry)
    path = there or fetch(entry)
    document = {
        "name": entry.name,
        "path": str(path),
        "sha256": digest(path),
        "bytes": path.stat().st_size,
        "from_cache": there is not None,
        "address": entry.address,
        "licence": entry.licence or None,
    }

    def show() -> None:
        output.line(f"weights      {document['path']}")
        output.line(f"size         {output.megabytes(path.stat().st_size)}{', was in the cache' if there else ''}")
        output.line(f"sha256       {document['sha256']}")

    return Answer(document, show)
