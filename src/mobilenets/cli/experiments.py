"""`paper --train`: an experiment of a paper on data at hand, as a table, its claims and their verdicts."""

from __future__ import annotations

from typing import Any

from ..errors import UserError
from . import output
from .output import Answer


def experiment(tables: tuple[str, ...], given: dict[str, Any]) -> Answer:
    """Runs the one experiment that is named. `given` holds the options that were."""
    from ..papers.document import entry_document, row_document
    from ..papers.experiments.designs import DESIGNS
    from ..papers.experiments.run import run_experiment
    from ..papers.registry import ENTRIES

    if len(tables) != 1:
        raise UserError(f"--train takes one experiment, not {len(tables)}; allowed: {', '.join(DESIGNS)}")
    (name,) = tables
    if "data" not in given:
        raise UserError("--train needs labelled images: give --data")
    settings = {"out": f"experiment-{name}"} | given
    found = run_experiment(name, **settings)
    chosen = [ENTRIES[name]] if name in ENTRIES else []
    document = {
        "entries": [entry_document(entry) for entry in chosen],
        "rows": [row_document(entry, row) for entry in chosen for row in entry.rows],
        "written": list(found["files"].values()),
        "experiment": found,
    }
    return Answer(document, lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    """The networks, the claims with their comparisons, what to keep in mind, the files."""
    seeds = len(found["seeds"])
    output.line(f"{found['experiment']}: {found['title']}, on {found['data']}")
    printed = any(cell["paper_top1"] is not None for cell in found["cells"])
    heads = [
        "network",
        ">input",
        ">multiply-adds",
        ">parameters",
        f">top-1 ({found['split']})",
        ">± seeds",
        ">each seed",
    ]
    output.table(
        heads + [">paper, ImageNet"] * printed,
        [
            [
                cell["line"],
                f"{cell['resolution']} px",
                output.millions(cell["macs"]),
                output.millions(cell["params"]),
                output.percent(cell["top1"], cell["top1_interval"]),
                "" if cell["spread"] is None else f"{100 * cell['spread']:.1f}",
                "  ".join(f"{100 * top1:.1f}" for top1 in cell["by_seed"]),
            ]
            + ["" if cell["paper_top1"] is None else output.percent(cell["paper_top1"])] * printed
            for cell in found["cells"]
        ],
    )
    for claim in found["claims"]:
        output.line("")
        output.line(f"{claim['claim']}: {claim['verdict'].upper()}")
        beside = any(one["paper_difference"] is not None for one in claim["comparisons"])
        output.table(
            ["difference of top-1", ">points", "verdict"] + [">paper, ImageNet"] * beside,
            [
                [
                    one["label"],
                    f"{100 * one['difference']:+.1f} ± {100 * one['margin']:.1f}",
                    one["verdict"],
                ]
                + ["" if one["paper_difference"] is None else f"{100 * one['paper_difference']:+.1f}"] * beside
                for one in claim["comparisons"]
            ],
        )
    output.line("")
    if found["fit"] is not None:
        slope, r2 = found["fit"]["slope"], found["fit"]["r2"]
        output.line(f"straight line over log multiply-adds: {100 * slope:+.1f} points a doubling, R² {r2:.2f}")
    output.line(
        f"width {found['width']:g} stands for the paper's 1, {found['resolution']} pixels for its 224; "
        f"{seeds} seed{'s' if seeds > 1 else ''}, {found['images']} images; recipe {found['recipe']}, "
        f"{found['precision']}, total stride {found['total_stride']}"
    )
    for note in found["notes"]:
        output.line(f"note: {note}")
    output.line(f"source: {found['source']}")
    for path in found["files"].values():
        output.line(path)
