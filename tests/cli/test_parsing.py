"""Words on the command line become arguments, or one line that says what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from mobilenets.cli.output import Answer
from mobilenets.cli.parsing import HelpAsked, call, parse
from mobilenets.errors import UserError


def verb(
    network: Path,
    source: tuple[str, ...],
    /,
    *,
    out: Path,
    batch_size: int = 8,
    lr: float | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    flip: bool = True,
    restart: bool = False,
) -> Answer:
    """Does something.

    Args:
        network: a folder
        source: pictures
        out: where to
        batch_size: images in a step
    """
    return Answer([str(network), *source, str(out), batch_size, lr, device, flip, restart], lambda: None)


def words(line: str) -> list[object]:
    values, _ = parse("verb", verb, line.split())
    return call(verb, values).document  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("net a b --out o", ["net", "a", "b", "o", 8, None, "cpu", True, False]),
        ("--out=o net --batch-size 4 a --lr 1e-3 b", ["net", "a", "b", "o", 4, 0.001, "cpu", True, False]),
        ("net a --out o --batch_size=4", ["net", "a", "o", 4, None, "cpu", True, False]),
        ("net a --out o --lr -1 --device cuda", ["net", "a", "o", 8, -1.0, "cuda", True, False]),
        ("net a --restart --no-flip --out o", ["net", "a", "o", 8, None, "cpu", False, True]),
        ("net a --out o --lr 1 --lr 2", ["net", "a", "o", 8, 2.0, "cpu", True, False]),
        ("net -1 --out o", ["net", "-1", "o", 8, None, "cpu", True, False]),
    ],
)
def test_positional_arguments_and_options_stand_in_any_order(line: str, expected: list[object]) -> None:
    assert words(line) == expected


def test_json_is_an_option_of_every_verb() -> None:
    assert parse("verb", verb, ["net", "a", "--out", "o", "--json"])[1] is True
    assert parse("verb", verb, ["net", "a", "--out", "o"])[1] is False


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "`mobilenets verb` needs NETWORK; see `mobilenets verb --help`"),
        ("net --out o", "`mobilenets verb` needs SOURCE; see `mobilenets verb --help`"),
        ("net a", "`mobilenets verb` needs --out; see `mobilenets verb --help`"),
        ("net a --out", "--out needs a value; see `mobilenets verb --help`"),
        ("net a --out o --bach-size 3", "unknown option --bach-size; did you mean --batch-size?"),
        ("net a --out o --batch-size x", "--batch-size: expected a whole number, got 'x'"),
        ("net a --out o --batch-size 1.5", "--batch-size: expected a whole number, got '1.5'"),
        ("net a --out o --lr much", "--lr: expected a number, got 'much'"),
        ("net a --out o --device gpu", "--device: expected cpu or cuda, got 'gpu'"),
        ("net a --out o --restart=yes", "--restart takes no value, got 'yes'"),
        ("net a --out o --no-flop", "unknown option --no-flop; did you mean --no-flip?"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(line: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        words(line)
    assert str(caught.value) == message


def test_an_unknown_option_without_a_near_one_lists_what_there_is() -> None:
    with pytest.raises(
        UserError, match=r"unknown option --zzz; `mobilenets verb` takes --out, --batch-size, .*--json$"
    ):
        words("net a --out o --zzz")


def test_help_shows_every_argument_once_with_its_meaning() -> None:
    with pytest.raises(HelpAsked) as caught:
        parse("verb", verb, ["--help"])
    text = str(caught.value)
    for word in (
        "NETWORK",
        "SOURCE…",
        "--out PATH",
        "--batch-size INT",
        "images in a step",
        "--json",
        "Does something.",
    ):
        assert word in text
    assert "(default: None)" not in text
    assert "(default: 8)" in text
