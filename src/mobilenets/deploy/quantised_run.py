"""A quantised network as a Run: its float network, the table of int8, and what was done and measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..atomic import write_json
from ..compress.files import TABLE, is_quantised
from ..errors import UserError
from ..training.checkpoint import save_tensors
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
    is_run,
    read_json,
)
from .load import Loaded
from .place import new_folder

if TYPE_CHECKING:
    from ..compress.simulation import Simulation

_FILES = {SPEC, LABELS, RECIPE, METRICS, BEST, TABLE, QUANTISATION, DECISION, EVALUATION, REPORT}


def check_out(folder: Path, loaded: Loaded) -> None:
    """Raises UserError for a place that a quantised Run may not take: only another one is replaced."""
    for place in (folder, *folder.absolute().parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}: is a file; --out names a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not is_quantised(folder):
        what = "a run that was trained" if is_run(folder) else "not empty and no quantised run"
        raise UserError(f"{folder}: is {what}; choose another --out")
    source = Path(loaded.reference).resolve()
    if folder.resolve() in (source, *source.parents):
        raise UserError(f"{folder}: holds the network itself; choose another --out")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if strangers := sorted(files - _FILES):
        raise UserError(f"{folder}: holds {strangers[0]} beside the quantised run; choose another --out")


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
            for name in (SPEC, LABELS, RECIPE, METRICS):
                if (source := Path(loaded.reference) / name).is_file():
                    shutil.copyfile(source, made / name)
        else:
            write_json(made / SPEC, loaded.spec.to_json())
            write_json(made / LABELS, loaded.labels)
            write_json(made / RECIPE, {"task": "classify", "imported": loaded.source})
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
