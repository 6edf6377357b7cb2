"""What torch runs of a program: its operators one after another, none fused."""

from __future__ import annotations

from collections import Counter
from typing import Any

from . import Ran

PRODUCTS = ("conv2d", "linear", "addmm", "matmul", "bmm", "scaled_dot_product_attention")


def told(graph: Any) -> Ran:
    """What a torch.fx graph of ATen operators runs."""
    calls = [node for node in graph.nodes if node.op == "call_function"]
    names = [node.target.__name__.partition(".")[0] for node in calls]
    types = [str(node.meta["val"].dtype).removeprefix("torch.") for node, name in zip(calls, names) if name in PRODUCTS]
    return {"operators": dict(Counter(names).most_common()), "precisions": dict(Counter(types)), "notes": []}
