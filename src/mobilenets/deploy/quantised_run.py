"""A quantised network as a Run: its float network, the table of int8, and what was done and measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..atomic import write_json
from ..compress.files import TABLE, is_quantised
from ..training.checkpoint import save_tensors
from ..training.replace import check_replaceable
from ..training.report import write_report
from ..training.run import (
    BEST,
    DECISION,
    EVALUATION,
    LABELS,
    METRICS,
    QUANTISATION,
    RECIPE,
    REPORT,
    SPEC,
    read_json,
)
from .load import Loaded
from .place import new_folder

if TYPE_CHECKING:
    from ..compress.simulation import Simulation

_FILES = {SPEC, LABELS, RECIPE, METRICS, BEST, TABLE, QUANTISATION, DECISION, EVALUATION, REPORT}


def check_out(folder: Path, loaded: Loaded) -> None:
    """Raises UserError for a place that a quantised Run may not take: only another one is replaced."""
    check_replaceable(folder, [loaded.reference], _FILES, is_quantised, "quantised")


def write_quantised(
    folder: Path,
    loaded: Loaded,
    simulation: Simulation,
    quantisation: dict[str, Any],
    decision: dict[str, Any] | None,
    evaluation: dict[str, Any] | None,
) -> None:
    """Writes the Run, whole or not at all. Where `loaded` is a Run, its recipe and history go with it."""
    from ..compress.table import save_table, table_of

    with new_folder(folder) as made:
        if loaded.kind == "run":
            for name in (LABELS, RECIPE, METRICS):
                if (source := Path(loaded.reference) / name).is_file():
                    shutil.copyfile(source, made / name)
        else:
            write_json(made / LABELS, loaded.labels)
            write_json(made / RECIPE, {"task": "classify", "imported": loaded.source})
        write_json(made / SPEC, loaded.spec.to_json())
        save_tensors(made / BEST, loaded.network.state_dict(), {"network": loaded.spec.name})
        save_table(made / TABLE, table_of(simulation))
        write_json(made / QUANTISATION, quantisation | {"version": __version__})
        for name, value in ((DECISION, decision), (EVALUATION, evaluation)):
            if value is not None:
                write_json(made / name, value)
        write_report(made, folder)


def add_latency(folder: Path, latency: dict[str, Any]) -> None:
    """Puts what the target's files take into a quantised Run that is written."""
    path = folder / QUANTISATION
    write_json(path, read_json(path) | {"latency": latency})
