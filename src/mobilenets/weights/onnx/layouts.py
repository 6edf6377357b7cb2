"""ONNX operators that leave the numbers as they are: reshaping, moved axes, casts, dropout.

Every function takes what is known so far and one operator, and returns its Node: `same`, or `other` where more changes.
"""

from __future__ import annotations

import numpy as np

from ..graph import Node
from .constants import axes_of
from .files import Shape
from .translation import Call, Translation

_TO_FIRST, _TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def same(t: Translation, call: Call) -> Node:
    t.follow(call)
    if call.inputs[0] in t.clamps:
        t.clamps[call.output] = t.clamps[call.inputs[0]]
    return call.node("same")


def transpose(t: Translation, call: Call) -> Node:
    x, perm = call.inputs[0], tuple(call.said.get("perm", ()))
    if perm == tuple(range(len(perm))) and perm:
        return same(t, call)
    if perm == _TO_FIRST and x in t.last:
        return call.node("same")
    if perm == _TO_LAST and x not in t.last:
        t.last.add(call.output)
        return call.node("same")
    return call.other()


def reshape(t: Translation, call: Call) -> Node:
    """`same` where it only drops or adds height and width; anything else, shuffled channels say, is `other`."""
    x, target = call.inputs[0], call.value(1)
    old, new = t.shape(x), t.shape(call.output)
    if new is None and target is not None:
        new = tuple(int(side) if side > 0 else None for side in target.ravel())
    if old is None or new is None:
        return call.other()
    if old == new and None not in old[1:]:
        return same(t, call)
    if len(new) == 2 and len(old) in (2, 3, 4):
        return _flattened(t, call, old, new)
    channels = t.channels(x)
    if len(new) == 4 and t.is_point(x) and channels is not None and len(old) in (2, 4):
        if new[1] == channels and new[2:] == (1, 1):
            return call.node("same")
        if new[3] == channels and new[1:3] == (1, 1):
            t.last.add(call.output)
            return call.node("same")
    return call.other()


def flatten(t: Translation, call: Call) -> Node:
    old = t.shape(call.inputs[0])
    axis = int(call.said.get("axis", 1))
    if axis not in (1, 1 - len(old or (0,) * 4)):
        return call.other()
    return _flattened(t, call, old or (None,) * 4, t.shape(call.output) or (None, None))


def _flattened(t: Translation, call: Call, old: Shape, new: Shape) -> Node:
    """(N, C, H, W) -> (N, C * H * W), the order that a linear layer of ours expects."""
    if call.inputs[0] in t.last and not t.is_point(call.inputs[0]):
        return call.other(f"{call.kind} of channels that stand last")
    if None not in old[1:] and new[1] is not None and np.prod(np.array(old[1:], np.int64)) != new[1]:
        return call.other()
    return call.node("same")


def squeeze(t: Translation, call: Call) -> Node:
    x = call.inputs[0]
    axes, rank = axes_of(call.said, call.values), t.rank(x)
    if axes is None:
        shape = t.shape(x)
        axes = None if shape is None else tuple(at for at, side in enumerate(shape) if side == 1)
    channel = 3 if x in t.last else 1
    if axes is None or rank is None or channel in {axis % rank for axis in axes}:
        return call.other()
    return call.node("same")


def unsqueeze(t: Translation, call: Call) -> Node:
    axes, rank = axes_of(call.said, call.values), t.rank(call.inputs[0])
    if axes is None or rank not in (2, 3) or rank + len(axes) > 4:
        return call.other()
    places = {axis % (rank + len(axes)) for axis in axes}
    if places == {1, 2} and rank == 2:
        t.last.add(call.output)
    elif not places <= {2, 3}:
        return call.other()
    return call.node("same")


def dropout(t: Translation, call: Call) -> Node:
    training = call.value(2)
    return call.other() if call.given(2) and (training is None or bool(np.any(training))) else same(t, call)


def cast(t: Translation, call: Call) -> Node:
    import onnx

    kinds = onnx.TensorProto
    if call.said.get("to") not in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16):
        return call.other("Cast to integers")
    return same(t, call)
