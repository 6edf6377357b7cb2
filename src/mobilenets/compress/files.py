"""What a quantised Run holds beside its float network; imported without torch."""

from __future__ import annotations

from pathlib import Path

TABLE = "checkpoints/int8.safetensors"  # the one table that every runtime's int8 file is made from


def is_quantised(run: Path) -> bool:
    """Whether the folder holds such a table."""
    return (run / TABLE).is_file()
