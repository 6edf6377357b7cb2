"""What a person sees while a command runs. Everything here goes to stderr: stdout belongs to the result."""

from __future__ import annotations

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
        disable=not console().is_terminal,
    )
