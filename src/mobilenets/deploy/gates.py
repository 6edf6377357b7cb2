"""What a file of each precision has to keep of the network it was made from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class Gate:
    """Bounds for one precision; None where it has none.

    `agreement`: the least share of images with the network's own answer. `max_relative_error`: the largest error of a
    logit, over the largest logit that the network gives. `max_drop`: the most top-1 accuracy that may be lost, 0 to 1.
    `stored`: the least share of a file's weights that it holds in the type that its name means, where its format tells.
    """

    agreement: float
    max_relative_error: float | None
    max_drop: float | None = None
    stored: float = 0.9


GATES = {
    "float32": Gate(agreement=0.995, max_relative_error=1e-3),
    "float16": Gate(agreement=0.99, max_relative_error=2e-2),
    "bfloat16": Gate(agreement=0.99, max_relative_error=2e-2, stored=0.0),  # a way of computing, not of storing
    "weights8": Gate(agreement=0.97, max_relative_error=None, max_drop=0.01),
    "int8": Gate(agreement=0.95, max_relative_error=None, max_drop=0.01),
}
GOLDEN = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2, "weights8": 1e-3, "int8": 0.5}
"""Largest error on the golden images over the largest logit: beyond it is a wrong file, not rounding.

Three images say nothing of what quantisation costs, so an int8 file is held to the quantised network as torch computes
it, and a weights8 file to the network with the weights that it holds: what remains is how a runtime rounds.
"""


def gate_of(
    precision: str,
    agreement: float | None = None,
    max_relative_error: float | None = None,
    max_drop: float | None = None,
) -> Gate:
    """The bounds of a precision, those that are given in place of its own.

    Raises UserError for an unknown precision, and for a bound out of range.
    """
    for name, value, most in (
        ("min agreement", agreement, 1.0),
        ("max relative error", max_relative_error, None),
        ("max drop", max_drop, 1.0),
    ):
        if value is not None and not 0 <= value <= (math.inf if most is None else most):
            allowed = "0 or more" if most is None else "0 to 1"
            raise UserError(f"{name} {value:g} is out of range: allowed is {allowed}")
    gate = GATES.get(precision)
    if gate is None:
        raise UserError(f"no thresholds for precision {precision!r}; known: {', '.join(GATES)}")
    return Gate(
        agreement=gate.agreement if agreement is None else agreement,
        max_relative_error=gate.max_relative_error if max_relative_error is None else max_relative_error,
        max_drop=gate.max_drop if max_drop is None else max_drop,
        stored=gate.stored,
    )
