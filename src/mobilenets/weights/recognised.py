"""A published network once it is ours: its Spec, its tensors under our names, and what was made of the file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..arch.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """`state` holds float32 arrays (int64 counters) for every key of `build_network(spec).state_dict()`.

    `used` names the file's tensors that went into it, `set_aside` those that belong to no network, with the reason.
    Between them they cover the file; a reader raises UserError rather than leave one over. `facts` are for a person, in
    order: what was taken for what, and what the file does not say.
    """

    format: str
    spec: Spec
    state: dict[str, np.ndarray] = field(repr=False)
    used: tuple[str, ...] = field(repr=False)
    set_aside: dict[str, str] = field(default_factory=dict)
    quantisation: str = ""
    labels: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
