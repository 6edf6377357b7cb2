"""What a person sees while a command runs. Everything here goes to stderr: stdout belongs to the result."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@cache
def console() -> Console:
    """The console on stderr that every message, table and progress bar uses."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)  # whatever sys.stderr is when something is said


def say(message: str) -> None:
    """Prints one line of progress for a person, markup off."""
    console().print(message, markup=False)


def warn(message: str) -> None:
    """Prints one line that starts with `warning:`."""
    console().print(f"warning: {message}", markup=False, style="yellow")


def progress(*, transient: bool = True) -> Progress:
    """A progress bar with count, speed and time left; silent where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console(),
        transient=transient,
        disable=not console().is_terminal or console().quiet,
    )


def launched() -> bool:
    """Whether a launcher such as torchrun started this process as one of several that work together."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() and os.environ["WORLD_SIZE"] != "1"


def speaks() -> bool:
    """Whether this process tells the user what all of them found: the first of those that were launched together."""
    return not launched() or os.environ["RANK"] == "0"
