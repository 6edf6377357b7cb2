"""The rows of an experiment: one for each training that is done, in rows.jsonl of its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...atomic import write_text
from ...errors import UserError

ROWS = "rows.jsonl"


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """What is done so far, in the order it was. Raises UserError naming a line that is none of ours."""
    path = folder / ROWS
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append(row | {"cell": str(row["cell"]), "seed": int(row["seed"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}: line {number} is no row of an experiment ({error})") from None
    return rows


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as rows.jsonl, all or nothing."""
    write_text(folder / ROWS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
