"""From a typed function to its command line: positional-only parameters stand alone, keyword-only ones are options.

An option that is a word of Python has an underscore behind its parameter's name: `class_` is --class.

tyro converts the values and writes `--help`. What it reports in a box over several lines is said here in one line.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg
from tyro.constructors import PrimitiveConstructorSpec

from ..errors import UserError
from ..suggest import near
from .output import Answer

Parameters = dict[str, inspect.Parameter]
_JSON = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)
_WHAT = {int: ("a whole number", "INT"), float: ("a number", "NUMBER"), str: ("text", "TEXT"), Path: ("a path", "PATH")}


class HelpAsked(Exception):
    """`--help` was among the arguments; the message is the help."""


def parse(name: str, function: Callable[..., Answer], args: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """The arguments that `args` stand for, by parameter name, and whether JSON is wanted.

    `name` is the verb as typed ("data check"). Raises HelpAsked, and UserError, one line, on anything that does not
    fit the function's signature.
    """
    if not any(token in ("-h", "--help") for token in args):
        args = _arrange(name, function, args)
    complaint = io.StringIO()
    told = io.TextIOWrapper(io.BytesIO(), encoding=sys.stdout.encoding)  # tyro draws what the encoding has
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complaint):
            values = tyro.cli(_recorder(function), prog=f"mobilenets {name}", args=args, config=(FlagCreatePairsOff,))
    except SystemExit as end:
        if end.code:
            raise UserError(_one_line(complaint.getvalue())) from None
        told.seek(0)
        raise HelpAsked(told.read().rstrip()) from None
    wants_json = bool(values.pop("json"))
    return values, wants_json


def call(function: Callable[..., Answer], values: dict[str, Any]) -> Answer:
    """Calls a verb with the arguments that `parse` returned."""
    positional = [values[p.name] for p in _parameters(function).values() if p.kind is p.POSITIONAL_ONLY]
    options = {p.name: values[p.name] for p in _parameters(function).values() if p.kind is p.KEYWORD_ONLY}
    return function(*positional, **options)


def _parameters(function: Callable[..., Answer]) -> Parameters:
    return dict(inspect.signature(function).parameters)


def _recorder(function: Callable[..., Answer]) -> Callable[..., dict[str, Any]]:
    """A function that tyro reads like `function`, with `--json` added; it returns its arguments by name."""
    hints = get_type_hints(function, include_extras=True)
    parameters = [p.replace(annotation=_hint(p, hints[p.name])) for p in _parameters(function).values()]
    json_hint = Annotated[bool, arg(help="print one JSON document on stdout", help_behavior_hint="")]
    parameters.append(_JSON.replace(annotation=json_hint))
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]

    def record(*positional: Any, **options: Any) -> dict[str, Any]:
        return dict(zip(names, positional)) | options

    record.__doc__ = function.__doc__
    record.__annotations__ = {p.name: p.annotation for p in parameters}
    record.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return record


def _hint(parameter: inspect.Parameter, hint: Any) -> Any:
    """The annotation for tyro: who stands alone, what a value is called, and what is said when it does not fit."""
    alone = parameter.kind is parameter.POSITIONAL_ONLY
    several = str(hint).startswith("tuple")
    name = parameter.name.upper() + ("…" if several else "")
    if parameter.default is not parameter.empty:
        name = f"[{name}]"
    # An empty hint where "(default: None)" or "(default: False)" would say nothing.
    says_nothing = several or parameter.default is None or parameter.default is False or parameter.default == ""
    extra: list[Any] = [arg(help_behavior_hint="")] if says_nothing else []
    if several and not alone:
        extra += [UseAppendAction, arg(metavar="TEXT")]
    if alone:
        extra += [Positional, arg(metavar=name)]
    elif parameter.name.endswith("_"):
        extra.append(arg(name=parameter.name.rstrip("_")))
    choices = _choices(hint)
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    if choices:
        extra.append(_value(_one_of(choices), f"{{{','.join(choices)}}}"))
    elif not several and len(kinds) == 1 and kinds[0] in _WHAT:
        what, metavar = _WHAT[kinds[0]]
        extra.append(_value(_converted(kinds[0], what), name if alone else metavar))
    for item in extra:
        hint = Annotated[hint, item]
    return hint


def _choices(hint: Any) -> tuple[str, ...]:
    """The words of a Literal, also where None may stand in their place; empty for other hints."""
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


def _value(read: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """How tyro reads one value; a default is never written as words, so what it may be does not matter."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda strings: read(strings[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [f"{value:g}" if isinstance(value, float) else str(value)],
    )


def _converted(kind: type, what: str) -> Callable[[str], Any]:
    def read(word: str) -> Any:
        try:
            return kind(word)
        except ValueError:
            raise ValueError(f"expected {what}, got {word!r}") from None

    return read


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(word: str) -> str:
        if word not in choices:
            raise ValueError(f"expected {', '.join(choices[:-1])} or {choices[-1]}, got {word!r}")
        return word

    return read


def _arrange(name: str, function: Callable[..., Answer], args: Sequence[str]) -> list[str]:
    """`args` with the positional ones first, so that options may stand anywhere; the names and counts are checked."""
    parameters = _parameters(function) | {"json": _JSON}
    takes_value = {_flag(p): not isinstance(p.default, bool) for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    alone: list[str] = []
    options: list[str] = []
    tokens = iter(args)
    for token in tokens:
        if not re.match(r"--?[A-Za-z]", token):
            alone.append(token)
            continue
        option, equals, value = token.partition("=")
        option = option.replace("_", "-")
        if option not in takes_value:
            raise UserError(f"unknown option {option}{near(option, list(takes_value)) or _allowed(name, takes_value)}")
        if equals and not takes_value[option]:
            raise UserError(f"{option} takes no value, got {value!r}")
        if takes_value[option]:
            given = value if equals else next(tokens, None)
            if given is None:
                raise UserError(f"{option} needs a value; see `mobilenets {name} --help`")
            options.append(f"{option}={given}")
        else:
            options.append(option)
    _check_counts(name, parameters, alone, options)
    return alone + options


def _flag(parameter: inspect.Parameter) -> str:
    option = parameter.name.rstrip("_").replace("_", "-")
    return f"--no-{option}" if parameter.default is True else f"--{option}"


def _allowed(name: str, options: dict[str, bool]) -> str:
    return f"; `mobilenets {name}` takes {', '.join(options)}"


def _check_counts(name: str, parameters: Parameters, alone: list[str], options: list[str]) -> None:
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_ONLY]
    required = [p.name.upper() for p in positional if p.default is p.empty]
    if len(alone) < len(required):
        raise UserError(f"`mobilenets {name}` needs {required[len(alone)]}; see `mobilenets {name} --help`")
    several = any(str(p.annotation).startswith("tuple") for p in positional)
    if len(alone) > len(positional) and not several:
        raise UserError(f"unexpected argument {alone[len(positional)]!r}; see `mobilenets {name} --help`")
    given = {option.partition("=")[0] for option in options}
    for p in parameters.values():
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and _flag(p) not in given:
            raise UserError(f"`mobilenets {name}` needs {_flag(p)}; see `mobilenets {name} --help`")


def _one_line(box: str) -> str:
    """The message inside a box that tyro drew: its rows up to the first rule, joined, decoration left out."""
    rows = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        text = line.strip().strip("│").strip()
        if text.startswith("──"):
            break
        if text and not text.startswith(("╭", "╰")):
            rows.append(text)
    return re.sub(r"^Error parsing ", "", " ".join(rows)).rstrip(".") or "these arguments do not fit"
