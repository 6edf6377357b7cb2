"""Pruning at one go, without training in between: of the channels that matter least, or of all groups alike."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..arch.spec import Spec
from ..errors import UserError
from ..nn.network import Network
from .channels import groups, with_channels, without_channels
from .criteria import importance, least
from .netadapt import DEFAULT, Budget, Settings


def prune_at_once(
    network: Network,
    budget: Budget,
    limit: float,
    settings: Settings = DEFAULT,
    *,
    prepare: Callable[[Network], None] = lambda network: None,
) -> Network:
    """The network, cut until `budget.measure` of it is at most `limit`; the weights that are left are as they were.

    Step by step the `settings.multiple` channels go whose share of their group's importance is the least for what they
    save. Raises UserError where the limit cannot be met.
    """
    prepare(network)
    origin, scores = network.spec, _scores(network, settings)
    widest = {group.name: group.channels for group in groups(origin)}
    spec, aim = origin, limit
    while True:
        while budget.predict(spec) > aim:
            options = []
            for group in groups(spec):
                channels = (group.channels - 1) // settings.multiple * settings.multiple
                lowest = max(settings.multiple, settings.least * widest[group.name])
                if group.kind == "block" or channels < lowest:
                    continue
                ranked = scores[group.name].sort().values
                gone = widest[group.name] - channels
                lost = float(ranked[widest[group.name] - group.channels : gone].sum() / ranked.sum())
                saved = budget.predict(spec) - budget.predict(with_channels(spec, group, channels))
                if saved > 0:
                    options.append((lost / saved, group, channels))
            if not options:
                raise UserError(
                    f"{origin.name}: {budget.predict(spec):.3g} is as low as pruning gets here, not {limit:.3g}"
                )
            _, group, channels = min(options, key=lambda each: each[0])
            spec = with_channels(spec, group, channels)
        measured = budget.measure(spec)
        if measured <= limit:
            break
        aim = min(aim, budget.predict(spec)) * limit / measured
    return _cut(network, spec, scores)


def prune_uniformly(
    network: Network,
    budget: Budget,
    limit: float,
    settings: Settings = DEFAULT,
    *,
    prepare: Callable[[Network], None] = lambda network: None,
) -> Network:
    """The network with the same share of every group's channels, the widest with which it is within the limit.

    This is what the papers' width multiplier does, with the weights that matter most kept. Raises UserError where the
    limit cannot be met.
    """
    prepare(network)
    origin, scores = network.spec, _scores(network, settings)
    tried: set[Spec] = set()
    for percent in range(99, 0, -1):
        spec = origin
        for group in groups(origin):
            if group.kind != "block":
                channels = max(
                    settings.multiple, round(group.channels * percent / 100 / settings.multiple) * settings.multiple
                )
                spec = with_channels(spec, group, min(channels, group.channels))
        if spec in tried or budget.predict(spec) > 1.1 * limit:
            continue
        tried.add(spec)
        if budget.measure(spec) <= limit:
            return _cut(network, spec, scores)
    raise UserError(
        f"{origin.name}: no width multiplier meets {limit:.3g}; its narrowest takes {budget.measure(spec):.3g}"
    )


def _scores(network: Network, settings: Settings) -> dict[str, Tensor]:
    """The importance of every channel, by group."""
    channels = (group for group in groups(network.spec) if group.kind != "block")
    return {group.name: importance(network, group, settings.criterion) for group in channels}


def _cut(network: Network, spec: Spec, scores: dict[str, Tensor]) -> Network:
    """The network with as many channels in every group as `spec` has, those with the highest scores."""
    left = {group.name: group.channels for group in groups(spec)}
    for group in groups(network.spec):
        if group.kind != "block" and left[group.name] < group.channels:
            kept = least(scores[group.name], group.channels - left[group.name])
            network = without_channels(network, group, kept)
    return network
