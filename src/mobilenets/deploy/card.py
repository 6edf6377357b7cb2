"""MODEL_CARD.md: the bundle in words, with what has been measured so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arch.cost import cost
from ..arch.spec import Spec
from .runtimes import WEIGHTS8


def model_card(manifest: dict[str, Any], measured: dict[str, Any]) -> str:
    """Markdown for a person; everything in it stands in bundle.json and measured.json too."""
    parts = [
        _head(manifest),
        _use(manifest),
        _files(manifest, measured.get("golden", [])),
        _verified(measured.get("verify")),
        _benched(measured.get("bench")),
        *(_on_device(name, found) for name, found in measured.get("devices", {}).items()),
        _training(manifest["provenance"]["source"]),
    ]
    return "\n".join(part for part in parts if part)


def _head(manifest: dict[str, Any]) -> str:
    spec = Spec.from_json(manifest["spec"])
    whole = cost(spec)
    names = [row["name"] for row in manifest["labels"]]
    shown = ", ".join(names[:20]) + (f" … ({len(names)} in all)" if len(names) > 20 else "")
    return (
        f"# {spec.name}, {len(names)} classes\n\n"
        f"It says which of these a picture shows: {shown}.\n\n"
        f"{whole.params:,} parameters, {whole.macs / 1e6:,.1f} million multiply-adds for one picture of "
        f"{spec.resolution} x {spec.resolution} pixels.\n"
    )


def _use(manifest: dict[str, Any]) -> str:
    size = manifest["preprocessing"]["resolution"]
    steps = "\n".join(f"- {step}" for step in manifest["preprocessing"]["by_the_app"])
    examples = ", ".join(f"`{name}`" for name in manifest["examples"])
    return (
        f"## Use\n\nInput `image`: uint8 RGB (N, {size}, {size}, 3), values 0 to 255. Before it:\n\n{steps}\n\n"
        "The file subtracts the mean and divides by the standard deviation itself. Output `logits`: float32 "
        f"(N, {manifest['output']['shape'][1]}); softmax gives scores. Complete programs: {examples}. "
        "`golden/` holds three inputs with the logits that every file must give.\n"
    )


def _files(manifest: dict[str, Any], golden: list[dict[str, Any]]) -> str:
    errors = {
        row["path"]: "not run here" if row["max_abs_error"] is None else f"{row['max_abs_error']:.2g}" for row in golden
    }
    rows = [
        [
            row["runtime"],
            row["precision"],
            f"`{row['path']}`",
            f"{row['size_bytes'] / 1e6:.2f} MB",
            errors.get(row["path"], ""),
        ]
        for row in manifest["models"]
    ]
    table = _table(["runtime", "precision", "file", "size", "error on golden logits"], rows)
    alone = any(row["precision"] == WEIGHTS8 for row in manifest["models"])
    return "## Files\n\n" + table + ("\nweights8: int8 weights alone; it computes in float32.\n" if alone else "")


def _verified(found: dict[str, Any] | None) -> str:
    if not found:
        return "## Checked on real images\n\nNot yet: `mobilenets verify BUNDLE DATA`.\n"
    rows = [
        [
            row["runtime"],
            row["precision"],
            _percent(row["top1"], row["top1_interval"]),
            _percent(row["agreement"]),
            "" if row["max_relative_error"] is None else f"{row['max_relative_error']:.1e}",
            "passed" if row["ok"] else ("not run: " if row["ok"] is None else "failed: ") + "; ".join(row["reasons"]),
        ]
        for row in found["files"]
    ]
    table = _table(
        ["runtime", "precision", "top-1 (95 % interval)", "same answer as the network", "largest error", "gate"], rows
    )
    return f"## Checked on real images\n\n{found['images']} images ({found['split']}).\n\n{table}"


def _benched(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    rows = [
        [
            row["runtime"],
            row["precision"],
            str(row["threads"]),
            f"{row['median_ms']:.2f} ms",
            f"{row['p95_ms']:.2f} ms",
            f"{row['peak_rss_bytes'] / 1e6:.0f} MB",
        ]
        for row in found["files"]
    ]
    table = _table(["runtime", "precision", "threads", "median", "95th percentile", "peak memory"], rows)
    return f"## Speed\n\nBatch 1 on {found['machine']['cpu']}.\n\n{table}"


def _on_device(name: str, found: dict[str, Any]) -> str:
    rows = [
        [
            row["runtime"],
            row["precision"],
            str(row["threads"]),
            "" if row["median_ms"] is None else f"{row['median_ms']:.2f} ms",
            f"{row['average_ms']:.2f} ms",
        ]
        for row in found["files"]
    ]
    return f"## Speed on {name}\n\n" + _table(["runtime", "precision", "threads", "median", "mean"], rows)


def _training(source: dict[str, Any]) -> str:
    if source["kind"] == "weights":
        files = ", ".join(f"`{row['name']}` (SHA-256 `{row['sha256'][:16]}`)" for row in source["sources"])
        return f"## Training\n\nPublished weights, imported from {files}, {source['format']}.\n"
    if source["kind"] != "run":
        return "## Training\n\nNone: the weights are random. It is for measuring speed and size.\n"
    data = source["data"]
    counts = ", ".join(f"{count} {name}" for name, count in data.get("images", {}).items())
    began = source.get("weights")
    start = f"Begun from weights of {began['model']} (SHA-256 `{began['sha256'][:16]}`). " if began else ""
    return (
        f"## Training\n\n{start}Data: {counts} images in {data.get('classes')} classes, fingerprint "
        f"`{str(data.get('fingerprint'))[:16]}`. Recipe and versions stand in `bundle.json`.\n"
    )


def _percent(rate: float | None, interval: Sequence[float] | None = None) -> str:
    if rate is None:
        return ""
    text = f"{100 * rate:.1f} %"
    return f"{text} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})" if interval else text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
