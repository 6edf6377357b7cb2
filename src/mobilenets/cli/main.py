"""`mobilenets VERB`: picks the verb, runs it, prints its answer, and turns every ending into an exit status.

0 done and passed; 1 done, and the answer is no; 2 the input or the environment is wrong, one line; 3 a fault of ours,
with the traceback; 130 interrupted; 143 ended by SIGTERM. Of several processes that torchrun started the first alone
prints, but for faults. Nothing heavy is imported here: `--help` must answer at once.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from .. import __version__
from ..console import launched, speaks
from ..errors import Terminated, UserError

if TYPE_CHECKING:
    from .output import Answer

PASSED, ANSWER_IS_NO, USER_ERROR, OUR_FAULT, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command line: the function behind it, and what is said about it.

    `again` is what a person reads after Ctrl-C and SIGTERM: how to go on.
    """

    name: str
    module: str
    function: str
    summary: str
    again: str = "run the same command again to start over"


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("models", "networks", "models", "list the architectures"),
        Verb("cost", "networks", "cost", "what a network costs: multiply-adds, parameters, memory, layer by layer"),
        Verb("plot", "networks", "plot", "draw an architecture with the cost of each block, as .svg or .png"),
        Verb(
            "paper",
            "paper",
            "paper",
            "the papers' tables and figures, published beside computed; --train repeats V1's experiments",
            "run the same command again; with --train it goes on where it stopped",
        ),
        Verb("data check", "data", "check", "find what is wrong with labelled images; status 1 when there are errors"),
        Verb("data show", "data", "show", "draw samples of every class, or what training makes of them"),
        Verb(
            "data pack",
            "data",
            "pack",
            "write labelled images as tar shards, which every verb reads",
            "run the same command again to go on with the shard it was at",
        ),
        Verb(
            "train",
            "training",
            "train",
            "train a network on labelled images",
            "run the same command again to go on from the last checkpoint",
        ),
        Verb("recipes", "recipes", "recipes", "list the recipes of train, or all settings of one"),
        Verb(
            "weights list", "weights", "list_weights", "list the published ImageNet weights; status 1 where none fits"
        ),
        Verb(
            "weights get",
            "weights",
            "get",
            "fetch published weights into the cache, checked",
            "run the same command again",
        ),
        Verb(
            "weights convert",
            "converting",
            "convert",
            "a published file of weights becomes a run, with proof; or a run goes back out",
        ),
        Verb("evaluate", "scoring", "evaluate", "score a network on labelled images"),
        Verb("predict", "scoring", "predict", "say what pictures show"),
        Verb("explain", "explaining", "explain", "draw what an answer rests on, computed on the file that ships"),
        Verb(
            "quantize",
            "shrinking",
            "quantize",
            "the int8 form of a network: measured, explained by layer, repaired; status 1 where it loses too much",
        ),
        Verb(
            "prune",
            "pruning",
            "prune",
            "a narrower network that is measurably faster, trained to an end; status 1 where it misses the latency",
            "run the same command again to go on with the search or the training",
        ),
        Verb("export", "shipping", "export", "write a bundle: the files that ship, and what they take and give"),
        Verb("verify", "shipping", "verify", "run every file of a bundle against the network; status 1 when one fails"),
        Verb(
            "bench",
            "benching",
            "bench",
            "latency, memory, energy and size of every file of a bundle, here or on a device",
            "run the same command again",
        ),
        Verb(
            "demo",
            "demo",
            "demo",
            "all of it on pictures rendered here: check, train, evaluate, export, verify, bench, report",
            "run the same command again to go on where it stopped",
        ),
    )
}

_USAGE = """\
usage: mobilenets VERB [ARGUMENTS] [--json]

From a folder of images and a device budget to a small vision model, checked in the very file that ships.

{verbs}

`mobilenets VERB --help` shows what a verb takes. `--json` prints one JSON document on stdout.
`mobilenets --version` prints the version.
"""


def run() -> None:
    """The entry point: runs the command line of this process and ends it."""
    _prepare_streams()
    leave(main(sys.argv[1:]))


def leave(status: int) -> NoReturn:
    """Ends this process. One of several that torchrun started ends without the destructors of torch's libraries.

    Now and then one of the threads that gloo leaves behind makes them abort, and SIGABRT would hide the status.
    """
    if not launched():
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def main(args: Sequence[str]) -> int:
    """Runs one command line and returns its exit status."""
    verb: Verb | None = None
    values: dict[str, Any] = {}
    try:
        if not args or args[0] in ("-h", "--help", "--version"):
            return _print(f"mobilenets {__version__}" if args and args[0] == "--version" else _usage().rstrip())
        verb, rest = _choose(args)
        if verb is None:
            return _print(_usage(args[0]).rstrip())
        with _sigterm_unwinds():
            return _run_verb(verb, rest, values)
    except UserError as error:
        return _error(str(error))
    except OSError as error:
        if error.errno is None:
            return _fault()
        return _error(_about(error, values))
    except MemoryError:
        return _error("out of memory; a smaller --batch-size or --resolution needs less")
    except KeyboardInterrupt:
        return _complain(f"interrupted; {verb.again if verb else 'nothing was begun'}", INTERRUPTED)
    except Terminated:
        return _complain(f"ended by SIGTERM; {verb.again if verb else 'nothing was begun'}", TERMINATED)
    except Exception as error:
        number = _foreign_errno(error)
        if number is not None:
            return _error(_about(OSError(number, os.strerror(number)), values))
        return _fault()


def _run_verb(verb: Verb, rest: Sequence[str], values: dict[str, Any]) -> int:
    """Parses, runs and prints. `values` receives the arguments, for the messages of the caller."""
    from importlib import import_module

    from . import parsing
    from .output import emit

    function = getattr(import_module(f"mobilenets.cli.{verb.module}"), verb.function)
    try:
        parsed, wants_json = parsing.parse(verb.name, function, rest)
    except parsing.HelpAsked as help_asked:
        return _print(str(help_asked))
    values.update(parsed)
    with _stdout_kept_free():
        answer: Answer = parsing.call(function, parsed)
    if speaks():
        with _reader_may_leave():
            emit(answer, wants_json)
    return PASSED if answer.ok else ANSWER_IS_NO


def _choose(args: Sequence[str]) -> tuple[Verb | None, Sequence[str]]:
    """The verb and what follows it; None for the help of a group such as `data --help`."""
    from ..suggest import near

    first = args[0]
    if first in VERBS:
        return VERBS[first], args[1:]
    group = [name for name in VERBS if name.startswith(f"{first} ")]
    if first.startswith("-"):
        raise UserError(f"{first} stands before the verb; write `mobilenets VERB … {first}`")
    if not group:
        words = sorted({name.split()[0] for name in VERBS})
        raise UserError(f"unknown verb {first!r}{near(first, words) or '; known: ' + ', '.join(words)}")
    if len(args) == 1 or args[1] in ("-h", "--help"):
        if len(args) == 1:
            raise UserError(f"`mobilenets {first}` needs one of: {', '.join(name.split()[1] for name in group)}")
        return None, ()
    name = f"{first} {args[1]}"
    if name not in VERBS:
        words = [known.split()[1] for known in group]
        raise UserError(f"unknown verb {name!r}{near(args[1], words, f'{first} ') or '; known: ' + ', '.join(group)}")
    return VERBS[name], args[2:]


def _usage(group: str = "") -> str:
    shown = [verb for verb in VERBS.values() if verb.name.startswith(group)]
    width = max(len(verb.name) for verb in VERBS.values())
    return _USAGE.format(verbs="\n".join(f"  {verb.name:<{width}}  {verb.summary}" for verb in shown))


def _print(text: str) -> int:
    with _reader_may_leave():
        print(text)
        sys.stdout.flush()
    return PASSED


def _error(message: str) -> int:
    return _complain("error: " + " ".join(message.split()), USER_ERROR)


def _complain(message: str, status: int) -> int:
    if not speaks() and status != OUR_FAULT:
        return status
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    return status


def _fault() -> int:
    import traceback

    return _complain(
        f"{traceback.format_exc()}\nThis is a fault of mobilenets {__version__}, not yours. "
        "Please report it with the lines above and the command.",
        OUR_FAULT,
    )


def _about(error: OSError, values: dict[str, Any]) -> str:
    """One line for an error of the system, with the path it is about; a failed write names what was to be written."""
    reason = error.strerror or str(error)
    path = error.filename if error.filename is not None else values.get("out")
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    return f"{path}: {reason}" if path is not None else reason


def _foreign_errno(error: Exception) -> int | None:
    """The system's error number that a library written in Rust (safetensors) puts at the end of its message."""
    _, marker, tail = str(error).rpartition("(os error ")
    number = tail.partition(")")[0]
    return int(number) if marker and number.isdecimal() else None


def _prepare_streams() -> None:
    """Makes printing safe: stderr may be closed, and a file name may not be printable in this locale."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Inside the block SIGTERM ends the work as Ctrl-C does: what is half written goes, locks are given back."""

    def leave(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _stdout_kept_free() -> Iterator[None]:
    """Sends to stderr whatever is printed while a verb works, by libraries in C and worker processes too."""
    sys.stdout.flush()
    number = _descriptor(sys.stdout)
    errors = _descriptor(sys.stderr)
    if number is None or errors is None:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    aside = os.dup(number)
    os.dup2(errors, number)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(aside, number)
        os.close(aside)


def _descriptor(stream: TextIO) -> int | None:
    """The stream's file descriptor; None for one that lives in memory."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Ends quietly when whoever reads stdout has gone (`| head`); the status stays that of the work.

    After any failed write stdout leads nowhere, so that the interpreter's last flush does not fail again.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = "stdout"
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise
