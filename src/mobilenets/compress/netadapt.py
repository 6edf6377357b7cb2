"""NetAdapt: a network made narrower step by step until it meets a budget (Yang et al. 2018, "NetAdapt: platform-aware
neural network adaptation for mobile applications"; with the proposals that V3 used, Howard et al. 2019, section 4.2).

Each step asks for so much less latency. Every group of channels proposes the network in which it alone is cut far
enough; the most promising proposals are trained for a moment, and the one that loses least for what it saves goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..arch.spec import Spec
from ..errors import UserError
from ..nn.network import Network
from .channels import Group, groups, with_channels, without_channels
from .criteria import importance, least


class Budget(Protocol):
    """What is limited: milliseconds, or multiply-adds. `predict` is quick, `measure` is what counts."""

    def predict(self, spec: Spec) -> float: ...

    def measure(self, spec: Spec) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`step`: what the first step takes off, as a part of the whole; each later one `decay` times the one before.

    Of all proposals the `trained` that lose least untrained are trained. A group keeps at least `least` of its first
    channels, and a multiple of `multiple`.
    """

    criterion: str = "l2"
    multiple: int = 8
    step: float = 0.1
    decay: float = 0.96
    trained: int = 3
    least: float = 0.125


DEFAULT = Settings()


@dataclass(frozen=True)
class Step:
    """A step that was taken: the group that was cut, and what the network takes and does since.

    `predicted` and `measured` in the budget's unit; `loss` in nats and `top1` (0...1) on the selection images after the
    short training; `proposals` are the others: (group, channels, loss untrained, loss trained or None).
    """

    group: str
    channels: int
    predicted: float
    measured: float
    loss: float
    top1: float
    seconds: float
    proposals: tuple[tuple[str, int, float, float | None], ...]


Score = Callable[[Network], tuple[float, float]]  # (loss in nats, top-1 0...1) on the selection images


@dataclass(frozen=True)
class Proposal:
    """The network in which one group alone is cut. `channels` of a block that goes are 0."""

    group: Group
    channels: int
    network: Network
    predicted: float
    loss: float


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
) -> Network:
    """The network, cut until `budget.measure` of it is at most `limit`.

    `train_` trains a network for a moment, in place; `score` judges it on images that do not train. `prepare` is called
    with the network before its channels are ranked (the criterion `taylor` needs gradients). `first` is the Spec
    that the search began from and `done` its steps, where it goes on from a network that it had come to. Raises
    UserError where even the narrowest network is beyond the limit.
    """
    origin = first or network.spec
    whole = budget.measure(origin)
    widest = {group.name: group.channels for group in groups(origin)}
    while (now := budget.measure(network.spec)) > limit:
        began = time.perf_counter()
        saving = settings.step * settings.decay**done * whole
        scale = now / budget.predict(network.spec)  # what the model errs by here
        proposals: list[Proposal] = []
        while not proposals:
            wanted = max(limit, now - saving) / scale
            prepare(network)
            found = [_propose(network, group, budget, wanted, widest, settings) for group in groups(network.spec)]
            if all(each is None for each in found) and saving < settings.step * whole / 16:
                raise UserError(
                    f"{origin.name}: {now:.3g} is as low as pruning gets here; the limit is {limit:.3g}: "
                    "raise it, or begin with a narrower network"
                )
            proposals = [
                Proposal(group, channels, cut, budget.predict(cut.spec) * scale, score(cut)[0])
                for group, channels, cut in (each for each in found if each is not None)
            ]
            saving /= 2
        before = score(network)[0]
        proposals.sort(key=lambda each: _price(each, each.loss, before, now))
        tried = []
        for proposal in proposals[: settings.trained]:
            train_(proposal.network)
            loss, top1 = score(proposal.network)
            tried.append((_price(proposal, loss, before, now), loss, top1, proposal))
        _, loss, top1, best = min(tried, key=lambda each: each[0])
        trained = {each[3].group.name: each[1] for each in tried}
        network = best.network
        done += 1
        on_step(
            network,
            Step(
                group=best.group.name,
                channels=best.channels,
                predicted=best.predicted,
                measured=budget.measure(network.spec),
                loss=loss,
                top1=top1,
                seconds=round(time.perf_counter() - began, 1),
                proposals=tuple(
                    (each.group.name, each.channels, each.loss, trained.get(each.group.name)) for each in proposals
                ),
            ),
        )
    return network


def _price(proposal: Proposal, loss: float, before: float, now: float) -> float:
    """What is lost for each part that is saved; where nothing is lost, what is won."""
    return (loss - before) / max(now - proposal.predicted, 1e-9) if loss > before else loss - before


def _propose(
    network: Network, group: Group, budget: Budget, wanted: float, widest: dict[str, int], settings: Settings
) -> tuple[Group, int, Network] | None:
    """The group cut until `budget.predict` is at most `wanted`; None where that leaves too little."""
    if group.kind == "block":
        gone = with_channels(network.spec, group, 0)
        if budget.predict(gone) > wanted:
            return None
        return group, 0, without_channels(network, group, ())
    multiple = settings.multiple
    most = (group.channels - 1) // multiple * multiple
    lowest = max(multiple, settings.least * widest.get(group.name, group.channels))
    for channels in range(most, 0, -multiple):
        if channels < lowest:
            return None
        if budget.predict(with_channels(network.spec, group, channels)) <= wanted:
            scores: Tensor = importance(network, group, settings.criterion)
            kept = least(scores, group.channels - channels)
            return group, channels, without_channels(network, group, kept)
    return None
