"""Which numbers of a network belong to one channel, and the network without some of them.

Two kinds of groups can lose channels. An *expansion* is the width inside a block: the 1x1 convolution that widens, the
depthwise one, squeeze-and-excite and the 1x1 convolution that narrows hold it together; so are the rows of the head's
hidden layer. A *bottleneck* is the width between blocks, one for all blocks that a chain of residual connections ties
together (V1 has no expansion: there it is a pointwise convolution and the depthwise one after it). They are the two
proposals of V3's NetAdapt (Howard et al. 2019, section 4.2). A *block* with a residual connection can go as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from ..arch.spec import Block, Spec
from ..errors import UserError
from ..nn.network import Network, build_network
from ..weights.names import check_merged

HIDDEN = "head.hidden"
GroupKind = Literal["expansion", "bottleneck", "block"]


@dataclass(frozen=True)
class Slice:
    """A parameter or buffer by its name in the network's state, and the dimension that has the group's channels."""

    tensor: str
    dim: int


@dataclass(frozen=True)
class Group:
    """What is pruned together: `channels` of it, in `slices`. Those of a block that can go are none.

    `blocks` are the blocks whose width it is. `producers` are the weights whose rows make the channels.
    """

    name: str
    kind: GroupKind
    blocks: tuple[int, ...]
    channels: int
    slices: tuple[Slice, ...] = ()
    producers: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def groups(spec: Spec) -> tuple[Group, ...]:
    """Every group of a network, expansions first. Raises UserError where its convolutions have branches.

    A bottleneck with attention in it, or with several depthwise filters per channel, is left as it is.
    """
    check_merged(spec)
    names = {name: tuple(value.shape) for name, value in _shapes(spec).items()}
    found = [_expansion(index, block, names) for index, block in enumerate(spec.blocks) if _has_expansion(block)]
    found += [_hidden(spec, names)] if spec.head.c_hidden else []
    found += _bottlenecks(spec, names)
    found += [
        Group(f"blocks.{index}", "block", (index,), block.c_out)
        for index, block in enumerate(spec.blocks)
        if block.residual and not block.tap and len(spec.blocks) > 1
    ]
    return tuple(found)


def group_of(spec: Spec, name: str) -> Group:
    """The group of that name. Raises UserError where there is none."""
    for group in groups(spec):
        if group.name == name:
            return group
    raise UserError(f"no group {name!r} in {spec.name}; allowed: {', '.join(group.name for group in groups(spec))}")


def without_channels(network: Network, group: Group, kept: Sequence[int] | Tensor) -> Network:
    """A new network whose group has the channels `kept` alone, in their order, with the weights that are left.

    For a group of kind `block` `kept` is empty, and the block is gone. The Spec holds the result, and the network
    computes what the old one does with the channels' outputs at nought. Raises UserError where nothing would be left.
    """
    places = torch.as_tensor(kept, dtype=torch.long)
    if group.kind == "block":
        return _without_block(network, group.blocks[0])
    if not len(places) or len(set(places.tolist())) != len(places) or int(places.max()) >= group.channels:
        raise UserError(f"{group.name}: keep 1 to {group.channels} different channels, got {len(places)}")
    state = dict(network.state_dict())
    for part in group.slices:
        state[part.tensor] = state[part.tensor].index_select(part.dim, places)
    return _built(with_channels(network.spec, group, len(places)), state, network)


def with_channels(spec: Spec, group: Group, channels: int) -> Spec:
    """The Spec whose group has so many channels; of a block, the Spec without it."""
    if group.kind == "block":
        (index,) = group.blocks
        return replace(spec, blocks=spec.blocks[:index] + spec.blocks[index + 1 :])
    blocks = list(spec.blocks)
    if group.name == HIDDEN:
        return replace(spec, head=replace(spec.head, c_hidden=channels))
    if group.kind == "expansion":
        (index,) = group.blocks
        blocks[index] = replace(blocks[index], c_mid=channels)
        return replace(spec, blocks=tuple(blocks))
    for index in group.blocks:
        blocks[index] = _with_output(blocks[index], channels)
        if blocks[index].residual:
            blocks[index] = _with_input(blocks[index], channels)
    after = group.blocks[-1] + 1
    if after < len(blocks):
        blocks[after] = _with_input(blocks[after], channels)
        return replace(spec, blocks=tuple(blocks))
    return replace(spec, blocks=tuple(blocks), head=replace(spec.head, c_in=channels))


def _with_input(block: Block, channels: int) -> Block:
    if block.kind == "separable":
        return replace(block, c_in=channels, c_mid=channels)
    return replace(block, c_in=channels)


def _with_output(block: Block, channels: int) -> Block:
    return replace(block, c_out=channels, c_mid=channels) if block.kind == "conv" else replace(block, c_out=channels)


def _has_expansion(block: Block) -> bool:
    return block.kind in ("inverted", "fused", "universal")


def _expansion(index: int, block: Block, names: dict[str, tuple[int, ...]]) -> Group:
    prefix = f"blocks.{index}."
    depthwise = "depthwise_mid" if block.kind == "universal" else "depthwise"
    slices = [*_outputs(prefix + "expand", names), *_outputs(prefix + depthwise, names)]
    slices += _squeeze_excite(prefix, names)
    slices.append(Slice(f"{prefix}project.conv.weight", 1))
    producers = [f"{prefix}{part}.conv.weight" for part in ("expand", depthwise)]
    return Group(
        f"{prefix}expand",
        "expansion",
        (index,),
        block.c_mid,
        tuple(slices),
        tuple(name for name in producers if name in names),
    )


def _hidden(spec: Spec, names: dict[str, tuple[int, ...]]) -> Group:
    """The hidden layer of the head."""
    slices = list(_outputs(HIDDEN, names))
    if spec.head.classes:
        slices.append(Slice("head.classifier.weight", 1))
    return Group(HIDDEN, "expansion", (), spec.head.c_hidden, tuple(slices), (f"{HIDDEN}.conv.weight",))


def _bottlenecks(spec: Spec, names: dict[str, tuple[int, ...]]) -> Iterator[Group]:
    """A group for each run of blocks that residual connections tie together, the one that opens it included."""
    blocks = spec.blocks
    start = 0
    while start < len(blocks):
        end = start + 1
        while end < len(blocks) and blocks[end].residual:
            end += 1
        run = tuple(range(start, end))
        readers = [*run[1:], *([end] if end < len(blocks) else [])]
        if _may_narrow(spec, start, readers):
            slices = [part for index in run for part in _makes(index, blocks[index], names)]
            slices += [part for index in readers for part in _takes(index, blocks[index], names)]
            if end == len(blocks):
                first = "head.hidden.conv.weight" if spec.head.c_hidden else "head.classifier.weight"
                slices.append(Slice(first, 1))
            producers = tuple(f"blocks.{index}.{_last(blocks[index])}.conv.weight" for index in run)
            yield Group(f"blocks.{start}", "bottleneck", run, blocks[start].c_out, tuple(slices), producers)
        start = end


def _may_narrow(spec: Spec, start: int, readers: Sequence[int]) -> bool:
    """Whether the run that block `start` opens, read by those blocks, can lose channels."""
    if spec.blocks[start].residual or (not readers and not spec.head.outputs):  # the first block adds the image
        return False
    return all(
        spec.blocks[index].kind != "attention"
        and not (spec.blocks[index].kind == "separable" and spec.blocks[index].c_mid != spec.blocks[index].c_in)
        for index in readers
    )


def _last(block: Block) -> str:
    """The convolution that makes the block's output."""
    return {"conv": "conv", "separable": "pointwise"}.get(block.kind, "project")


def _makes(index: int, block: Block, names: dict[str, tuple[int, ...]]) -> Iterator[Slice]:
    prefix = f"blocks.{index}."
    yield from _outputs(prefix + _last(block), names)
    if f"{prefix}layer_scale.gamma" in names:
        yield Slice(f"{prefix}layer_scale.gamma", 0)


def _takes(index: int, block: Block, names: dict[str, tuple[int, ...]]) -> Iterator[Slice]:
    prefix = f"blocks.{index}."
    if block.kind == "conv":
        yield Slice(f"{prefix}conv.conv.weight", 1)
    elif block.kind == "separable":
        yield from _outputs(prefix + "depthwise", names)
        yield from _squeeze_excite(prefix, names)
        yield Slice(f"{prefix}pointwise.conv.weight", 1)
    else:
        yield from _outputs(prefix + "depthwise_start", names)
        yield Slice(f"{prefix}expand.conv.weight", 1)


def _outputs(part: str, names: dict[str, tuple[int, ...]]) -> Iterator[Slice]:
    """The rows of a convolution with its bias or normalisation; nothing where the block does not have it."""
    for name in (
        f"{part}.conv.weight",
        f"{part}.conv.bias",
        *(f"{part}.norm.{each}" for each in ("weight", "bias", "running_mean", "running_var")),
    ):
        if name in names:
            yield Slice(name, 0)


def _squeeze_excite(prefix: str, names: dict[str, tuple[int, ...]]) -> Iterator[Slice]:
    if f"{prefix}se.reduce.weight" in names:
        yield Slice(f"{prefix}se.reduce.weight", 1)
        yield Slice(f"{prefix}se.expand.weight", 0)
        yield Slice(f"{prefix}se.expand.bias", 0)


def _without_block(network: Network, index: int) -> Network:
    spec = network.spec
    if not spec.blocks[index].residual:
        raise UserError(
            f"block {index} of {spec.name} has no residual connection: without it nothing would come through"
        )
    state = {}
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "blocks":
            place = int(parts[1])
            if place == index:
                continue
            parts[1] = str(place - (place > index))
        state[".".join(parts)] = value
    return _built(replace(spec, blocks=spec.blocks[:index] + spec.blocks[index + 1 :]), state, network)


def _built(spec: Spec, state: dict[str, Tensor], like: nn.Module) -> Network:
    with torch.random.fork_rng(devices=[]):
        made = build_network(spec)
    made.load_state_dict(state)
    made.to(next(like.parameters()).device)
    return made.train(like.training)


def _shapes(spec: Spec) -> dict[str, Tensor]:
    """The state of a network without memory for it."""
    with torch.device("meta"):
        return dict(build_network(spec).state_dict())
