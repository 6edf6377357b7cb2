"""The widths of letters are those of the typeface that matplotlib draws with."""

from __future__ import annotations

import pytest
from drawn import measured_width

from mobilenets.drawing.lettering import _WIDTHS, text_width


def test_letters_are_as_wide_as_stated() -> None:
    assert len(_WIDTHS) > 95
    for character in _WIDTHS:
        assert text_width(character, 1) == pytest.approx(measured_width(character, False), abs=0.005), character
        assert text_width(character, 1, bold=True) >= measured_width(character, True) - 0.005, character


def test_no_other_letter_is_wider_than_what_it_is_taken_for() -> None:
    for character in "éßΩЖ字\N{REPLACEMENT CHARACTER}":
        assert character not in _WIDTHS
        assert text_width(character, 1) >= measured_width(character, False)
        assert text_width(character, 1, bold=True) >= measured_width(character, True)
