"""The search of `prune`, kept on disk step by step: a Run of the network as it is, and how it came to it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..atomic import write_json
from ..compress.netadapt import Step
from ..errors import UserError
from ..nn.network import Network
from ..training.checkpoint import save_tensors
from ..training.run import BEST, LABELS, RECIPE, SPEC, is_run, open_run, read_json
from .load import Loaded
from .place import new_folder

STATE = "search.json"


@dataclass
class Search:
    """What is there of a search: `steps` taken, `seconds` spent, and `finished`; its folder is also a Run."""

    folder: Path
    arguments: dict[str, Any]
    steps: list[dict[str, Any]]
    seconds: float = 0.0
    finished: bool = False

    def add(self, step: Step) -> None:
        """Notes a step."""
        rows = {name: [list(row) for row in getattr(step, name)] for name in ("cuts", "proposals")}
        self.steps.append(asdict(step) | rows)

    def save(self, network: Network, loaded: Loaded) -> None:
        """Writes network and state, all or nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with new_folder(self.folder) as made:
            write_json(made / SPEC, network.spec.to_json())
            write_json(made / LABELS, loaded.labels)
            write_json(made / RECIPE, {"task": "classify", "imported": loaded.source})
            save_tensors(made / BEST, network.state_dict(), {"network": network.spec.name})
            state = {"arguments": self.arguments, "steps": self.steps, "seconds": self.seconds}
            write_json(made / STATE, state | {"finished": self.finished})

    def network(self) -> Network:
        """The network that the search has come to."""
        return open_run(self.folder).network()

    def remove(self) -> None:
        """Takes the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def search_at(folder: Path, arguments: dict[str, Any], *, restart: bool) -> Search:
    """The search in that folder, or a new one. Raises UserError for one that was begun with other arguments."""
    if folder.exists() and not ((folder / STATE).is_file() and is_run(folder)):
        raise UserError(f"{folder}: is in the way of the search and none; move it, or choose another --out")
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return Search(folder, arguments, [])
    state = read_json(folder / STATE)
    same_arguments(state["arguments"], arguments, folder)
    return Search(folder, arguments, state["steps"], state["seconds"], state["finished"])


def same_arguments(before: dict[str, Any], now: dict[str, Any], place: Path) -> None:
    """Raises UserError naming the first argument that differs from that with which `place` was begun."""
    now = json.loads(json.dumps(now))
    for name in now:
        if before.get(name) != now[name]:
            raise UserError(
                f"{place} was begun with {name.replace('_', ' ')} {before.get(name)!r}, now {now[name]!r}: use the "
                "same arguments to go on, another --out, or --restart"
            )
