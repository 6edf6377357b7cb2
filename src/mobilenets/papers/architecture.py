"""Tables that are an architecture: the paper's columns as they stand in `arch`, and what each row makes and costs."""

from __future__ import annotations

from ..arch.cost import Cost
from ..arch.graph import Op
from .entry import Column, Figure

INPUT = Column("input", "input")
MADE = (Column("out", "output"), Column("macs", "multiply-adds"), Column("params", "parameters"))
BUILT = "the network is built from it"


def printed(key: str, title: str) -> Column:
    """A column that stands as published: the network is built from it."""
    return Column(key, title, stands=BUILT)


def size(shape: tuple[int, int, int]) -> str:
    """A tensor's shape (channels, height, width) in the papers' order: 112x112x32."""
    channels, height, width = shape
    return f"{height}x{width}x{channels}"


def of_blocks(whole: Cost, first: int, last: int, stated: str = "") -> dict[str, Figure]:
    """Input, output and cost of the blocks `first` to `last` together; `stated` is the printed input size."""
    return _of([op for op in whole.ops if first <= op.block <= last], whole, stated)


def of_layer(whole: Cost, name: str, stated: str = "") -> dict[str, Figure]:
    """The same of one operation in the head."""
    return _of([op for op in whole.ops if op.name == name], whole, stated)


def _of(ops: list[Op], whole: Cost, stated: str) -> dict[str, Figure]:
    shapes = {"input": whole.input} | {op.name: op.shape for op in whole.ops}
    return {
        "input": Figure(stated, size(shapes[ops[0].inputs[0]])),
        "out": Figure("", size(ops[-1].shape)),
        "macs": Figure("", sum(op.macs for op in ops)),
        "params": Figure("", sum(op.params for op in ops)),
    }


def words(**cells: object) -> dict[str, Figure]:
    """Cells as printed; None is left out."""
    return {key: Figure(str(cell)) for key, cell in cells.items() if cell is not None}
