"""Everything that a training carries from epoch to epoch, and its way to disk and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..nn.network import Network
from .average import Average
from .checkpoint import (
    load_network_,
    load_optimiser_,
    load_tensors,
    optimiser_tensors,
    save_tensors,
    under_prefix,
    with_prefix,
)
from .parallel import Ranks
from .part import Part
from .run import BEST, LAST


@dataclass
class Session:
    """The state of a training after `epoch` whole epochs and, where it is amid the next, the `part` that is done.

    `best` is the history's row that was selected.

    `optimiser` is None where a classifier is fitted to cached features. `beside` is what trains beside the network and
    is thrown away at the end.
    """

    network: Network
    optimiser: Optimizer | None
    average: Average | None
    beside: nn.Module | None = None
    epoch: int = 0
    part: Part | None = None
    elapsed: float = 0.0
    trained_seconds: float = 0.0
    images: int = 0
    finished: bool = False
    best: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def save(self, run: Path) -> None:
        """Writes the whole state to the Run, all or nothing."""
        tensors = with_prefix("network", self.network.state_dict())
        if self.optimiser is not None:
            tensors |= with_prefix("optimiser", optimiser_tensors(self.optimiser))
        if self.beside is not None:
            tensors |= with_prefix("beside", self.beside.state_dict())
        header = {
            "epoch": self.epoch,
            "elapsed": self.elapsed,
            "trained_seconds": self.trained_seconds,
            "images": self.images,
            "finished": self.finished,
            "best": self.best,
            "history": self.history,
        }
        if self.part is not None:
            states, header["part"] = self.part.saved()
            tensors |= with_prefix("random", states)
        if self.average is not None:
            tensors |= with_prefix("average", self.average.values)
            header["average_steps"] = self.average.steps
        save_tensors(run / LAST, tensors, header)

    def save_best(self, run: Path) -> None:
        """Writes the weights that were just selected, averaged where there is an average."""
        tensors = self.network.state_dict()
        if self.average is not None:
            tensors = tensors | self.average.values
        save_tensors(run / BEST, tensors, {"epoch": self.epoch, "selected_by": self.best})

    def restore(self, run: Path, ranks: Ranks) -> None:
        """Takes over the state that `save` wrote. Raises UserError when it is corrupt or of another network.

        The writer reads it for all processes.
        """
        tensors, header = ranks.first(lambda: load_tensors(run / LAST))
        load_network_(self.network, under_prefix("network", tensors), run / LAST)
        if self.optimiser is not None:
            load_optimiser_(self.optimiser, under_prefix("optimiser", tensors))
        if self.beside is not None:
            load_network_(self.beside, under_prefix("beside", tensors), run / LAST)
        if self.average is not None:
            saved = under_prefix("average", tensors)
            for name, value in self.average.values.items():  # in the network's order, which a file does not keep
                value.copy_(saved[name])
            self.average.steps = int(header["average_steps"])
        self.part = Part.restored(under_prefix("random", tensors), header["part"]) if "part" in header else None
        for name in ("epoch", "elapsed", "trained_seconds", "images", "finished", "best", "history"):
            setattr(self, name, header[name])
