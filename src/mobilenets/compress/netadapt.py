"""NetAdapt: a network made narrower step by step until it meets a budget (Yang et al. 2018, "NetAdapt: platform-aware
neural network adaptation for mobile applications"; with the proposals that V3 used, Howard et al. 2019, section 4.2).

Each step asks for so much less latency. Every group of channels proposes the network in which it alone is cut far
enough for a part of that, or halved. In the papers each proposal saves the whole step, is trained for a moment, and the
best of them goes on; here all are scored untrained, the cheapest go together until the step is saved, and what is left
is trained. A network of many layers has no single one that could save a tenth of it unharmed, and one training does
instead of thirty.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..arch.spec import Spec
from ..errors import UserError
from ..nn.network import Network
from .channels import Group, group_of, groups, with_channels, without_channels
from .criteria import importance, least

_WORTH = 0.5  # of what a step asks for


class Budget(Protocol):
    """What is limited: milliseconds, or multiply-adds. `predict` is quick, `measure` is what counts."""

    def predict(self, spec: Spec) -> float: ...

    def measure(self, spec: Spec) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`step`: what the first step takes off, as a part of the whole; each later one `decay` times the one before.

    A proposal saves a `parts`-th of it. Of all proposals the `scored` that lost least when they were last looked at are
    scored. A group keeps at least `least` of its first channels, and a multiple of `multiple`.
    """

    criterion: str = "l2"
    multiple: int = 8
    step: float = 0.1
    decay: float = 0.96
    parts: int = 4
    scored: int = 14
    least: float = 0.125


DEFAULT = Settings()


@dataclass(frozen=True)
class Step:
    """A step that was taken: what was cut, and what the network takes and does since.

    `cuts` are (group, channels that are left; 0: the block is gone). `predicted` and `measured` in the budget's unit;
    `loss` in nats and `top1` (0...1) on the selection images after the short training; `proposals` are all that were
    scored: (group, channels, price). The price is the loss that is added untrained for each unit saved; where none is
    added, minus what is won.
    """

    cuts: tuple[tuple[str, int], ...]
    predicted: float
    measured: float
    loss: float
    top1: float
    seconds: float
    proposals: tuple[tuple[str, int, float], ...]


Score = Callable[[Network], tuple[float, float]]  # (loss in nats, top-1 0...1) on the selection images


@dataclass(frozen=True)
class Cut:
    """A group and the channels that it is cut to; of a block that goes they are 0."""

    group: Group
    channels: int


def netadapt(
    network: Network,
    budget: Budget,
    limit: float,
    train_: Callable[[Network], None],
    score: Score,
    settings: Settings = DEFAULT,
    *,
    prepare: Callable[[Network], None] = lambda network: None,
    on_step: Callable[[Network, Step], None] = lambda network, step: None,
    first: Spec | None = None,
    done: int = 0,
    prices: dict[str, float] | None = None,
    pace: Callable[[float, float], float] = lambda now, saving: saving,
) -> Network:
    """The network, cut until `budget.measure` of it is at most `limit`.

    `train_` trains a network for a moment, in place; `score` judges it on images that do not train. `prepare` is called
    with the network before its channels are ranked (the criterion `taylor` needs gradients). `first` is the Spec
    that the search began from, `done` its steps and `prices` what each group's proposal cost when it was last scored,
    where it goes on from a network that it had come to. `pace` is told before each step where the network is and what
    the step is to save, and may ask for more. Raises UserError where even the narrowest network is beyond the limit.
    """
    origin = first or network.spec
    whole = budget.measure(origin)
    widest = {group.name: group.channels for group in groups(origin)}
    prices = dict(prices or {})
    while (now := budget.measure(network.spec)) > limit:
        began = time.perf_counter()
        prepare(network)
        scale = now / budget.predict(network.spec)  # what the model errs by here
        saving = pace(now, settings.step * settings.decay**done * whole)
        fine = max(limit, now - saving / settings.parts)
        found = _proposed(network, budget, now / scale, fine / scale, widest, settings)
        if not found:
            raise UserError(
                f"{origin.name}: {now:.3g} is as low as pruning gets here; the limit is {limit:.3g}: "
                "raise it, or begin with a narrower network"
            )
        found.sort(key=lambda each: prices.get(each.group.name, -math.inf))
        unknown = sum(each.group.name not in prices for each in found)
        before = score(network)[0]
        priced = []
        for cut in found[: max(settings.scored, unknown)]:
            made = _made(network, [cut], settings)
            saved = now - budget.predict(made.spec) * scale
            prices[cut.group.name] = _price(score(made)[0] - before, saved)
            priced.append((cut, prices[cut.group.name]))
        priced.sort(key=lambda each: each[1])
        cuts = _together(network, budget, max(limit, now - saving) / scale, [cut for cut, _ in priced])
        network = _made(network, cuts, settings)
        predicted = budget.predict(network.spec) * scale
        train_(network)
        loss, top1 = score(network)
        done += 1
        on_step(
            network,
            Step(
                cuts=tuple((cut.group.name, cut.channels) for cut in cuts),
                predicted=predicted,
                measured=budget.measure(network.spec),
                loss=loss,
                top1=top1,
                seconds=round(time.perf_counter() - began, 1),
                proposals=tuple((cut.group.name, cut.channels, price) for cut, price in priced),
            ),
        )
    return network


def _price(added: float, saved: float) -> float:
    """What is lost for each part that is saved; where nothing is lost, minus what is won."""
    return added / max(saved, 1e-9) if added > 0 else added


def _proposed(
    network: Network, budget: Budget, now: float, wanted: float, widest: dict[str, int], settings: Settings
) -> list[Cut]:
    """Every group cut until `budget.predict` is at most `wanted`, or to half of it where it is too small for that.

    Left out are groups of which too little would be left, and cuts that save less than half of what was asked for, as
    long as there are others.
    """
    found = []
    for group in groups(network.spec):
        if group.kind == "block":
            sizes = [0]
        else:
            multiple = settings.multiple
            lowest = max(multiple, settings.least * widest.get(group.name, group.channels), group.channels / 2)
            sizes = [
                size for size in range((group.channels - 1) // multiple * multiple, 0, -multiple) if size >= lowest
            ]
        for size in sizes:
            predicted = budget.predict(with_channels(network.spec, group, size))
            if predicted <= wanted or size == sizes[-1]:
                found.append((Cut(group, size), now - predicted))
                break
    worth = [cut for cut, saved in found if saved >= _WORTH * (now - wanted)]
    return worth or [cut for cut, saved in found if saved > 0]


def _together(network: Network, budget: Budget, wanted: float, cuts: list[Cut]) -> list[Cut]:
    """As many of the cuts, the first first, as bring `budget.predict` to `wanted`; channels before blocks.

    A block that goes takes its expansion with it.
    """
    chosen: list[Cut] = []
    for cut in cuts:
        gone = {each.group.name for each in chosen if each.group.kind == "block"}
        inside = cut.group.name.removesuffix(".expand")
        if inside in gone or f"{inside}.expand" in {each.group.name for each in chosen if inside == cut.group.name}:
            continue
        chosen.append(cut)
        spec = network.spec
        for each in _in_order(chosen):
            spec = with_channels(spec, group_of(spec, each.group.name), each.channels)
        if budget.predict(spec) <= wanted:
            break
    return _in_order(chosen)


def _in_order(cuts: list[Cut]) -> list[Cut]:
    """Channels first, then blocks from the last: so that no cut changes the name of a later one's group."""
    blocks = [cut for cut in cuts if cut.group.kind == "block"]
    return [cut for cut in cuts if cut.group.kind != "block"] + sorted(blocks, key=lambda cut: -cut.group.blocks[0])


def _made(network: Network, cuts: list[Cut], settings: Settings) -> Network:
    kept = {
        cut.group.name: least(importance(network, cut.group, settings.criterion), cut.group.channels - cut.channels)
        for cut in cuts
        if cut.group.kind != "block"
    }
    for cut in cuts:
        network = without_channels(network, group_of(network.spec, cut.group.name), kept.get(cut.group.name, ()))
    return network
