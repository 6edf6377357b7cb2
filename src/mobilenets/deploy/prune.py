"""`prune`: a narrower network that is measurably faster, searched under a budget and trained to an end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..arch.check import check_count, check_number
from ..arch.cost import cost
from ..arch.spec import Spec
from ..atomic import write_json
from ..compress.criteria import check_criterion
from ..compress.netadapt import Budget
from ..console import say
from ..data.dataset import Dataset, open_dataset
from ..data.roles import roles
from ..errors import UserError
from ..nn.network import Network
from ..tasks.classify import classification_report
from ..training.begin import Arguments
from ..training.choose import Changes
from ..training.distillation import Teaching
from ..training.report import write_report
from ..training.run import PRUNING, RECIPE, is_run, open_run, read_json
from ..training.start import make_start
from ..training.teacher import teacher_of_network
from ..training.trainer import refuse_overwriting, run_training
from .calibrate import own_data
from .latency.profile import MeasuredLatency, measured_latency
from .load import Loaded, TorchSession, load, without_branches
from .plan import check_installed, plan_files
from .prune_cut import cut_
from .prune_search import Search, same_arguments, search_at
from .runtimes import FLOAT32, Runtime, runtime
from .score import known_columns, score

METHODS = ("netadapt", "one-shot", "uniform")


def prune(
    reference: str | os.PathLike[str],
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    labels: str | None = None,
    keep: float = 0.5,
    target: str | None = None,
    threads: int = 1,
    method: str = "netadapt",
    criterion: str = "l2",
    multiple: int = 8,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    restart: bool = False,
) -> dict[str, Any]:
    """Writes a pruned network, trained to an end, as a Run. Returns what `prune --json` prints.

    It is cut until `keep` (above 0, below 1) of the original's is left: of the milliseconds that its float32 file takes
    in the runtime `target` on `threads` threads here, or, without a target, of its multiply-adds. `method` and
    `criterion` say how: see `compress.netadapt` and `compress.criteria`; channel counts are multiples of `multiple`.
    About two fifths of `minutes` go to the search, the rest to the training at the end, which the original teaches;
    `epochs` bounds that too. The search judges by selection images, the reported split is scored once, at the end.
    Started again with the same arguments it goes on. Raises UserError, one line, for what cannot be.
    """
    arguments = {
        "network": os.fspath(reference),
        "data": None if data is None else os.fspath(data),
        "labels": labels,
        "keep": keep,
        "target": target,
        "threads": threads,
        "method": method,
        "criterion": criterion,
        "multiple": multiple,
        "minutes": minutes,
        "epochs": epochs,
        "seed": seed,
    }
    chosen = _check(arguments)
    begun, folder = time.perf_counter(), Path(out)
    if is_run(folder) and (folder / PRUNING).is_file() and not restart:
        kept: dict[str, Any] = read_json(folder / PRUNING)
        same_arguments(kept["arguments"], arguments, folder)
        return {name: value for name, value in kept.items() if name != "arguments"}
    place = folder.with_name(f"{folder.name}.search")
    _check_out(folder, place, reference)
    loaded = load(reference)
    if loaded.int8 is not None or loaded.kind not in ("run", "weights") or not loaded.spec.head.classes:
        raise UserError(f"{loaded.reference}: {loaded.recognised}; prune takes a run or published weights with classes")
    if loaded.spec.reparam:
        say(f"its branches (reparam {loaded.spec.reparam}) are folded first: what is pruned has single convolutions")
        loaded = without_branches(loaded)
    dataset = own_data(loaded) if data is None else open_dataset(data, labels=labels)
    if known_columns(dataset, loaded) is None:
        raise UserError(f"{dataset.root}: has other classes than {loaded.reference}; train it on them first")
    search = search_at(place, arguments, restart=restart)
    torch.manual_seed(seed)
    with _budget(chosen, loaded.network, threads, multiple) as budget:
        limit = keep * budget.measure(loaded.spec)
        if not search.finished:
            cut_(search, loaded, dataset, budget, limit, arguments, begun)
        left = None if minutes is None else max(minutes - search.seconds / 60, 0.1)
        trained = _train(search, loaded, dataset, folder, left, arguments, restart=restart)
        result = _result(folder, loaded, dataset, search, budget, limit, trained, arguments)
    write_json(folder / PRUNING, result | {"arguments": arguments})
    write_report(folder)
    search.remove()
    return result


class MultiplyAdds:
    """The budget without a target: multiply-adds, in millions."""

    def predict(self, spec: Spec) -> float:
        """Millions."""
        return cost(spec).macs / 1e6

    measure = predict


@contextmanager
def _budget(chosen: Runtime | None, network: Network, threads: int, multiple: int) -> Iterator[Budget]:
    if chosen is None:
        yield MultiplyAdds()
        return
    with measured_latency(chosen, network, threads, multiple) as found:
        yield found


def _check(arguments: dict[str, Any]) -> Runtime | None:
    """The target; raises UserError for what can be told to be wrong before any work."""
    check_number("keep", arguments["keep"], above=0, below=1)
    check_criterion(arguments["criterion"])
    if arguments["method"] not in METHODS:
        raise UserError(f"unknown method {arguments['method']!r}; allowed: {', '.join(METHODS)}")
    check_count("multiple", arguments["multiple"], 1)
    check_count("threads", arguments["threads"], 1)
    if arguments["minutes"] is not None:
        check_number("minutes", arguments["minutes"], above=0)
    if arguments["epochs"] is not None:
        check_count("epochs", arguments["epochs"], 1)
    if arguments["labels"] is not None and arguments["data"] is None:
        raise UserError(f"labels {arguments['labels']} goes with --data")
    if arguments["target"] is None:
        return None
    chosen = runtime(arguments["target"])
    if reason := chosen.elsewhere() or chosen.unmeasured:
        raise UserError(f"target {chosen.name}: cannot be measured here: {reason}")
    check_installed(plan_files([chosen], (FLOAT32,)))
    return chosen


def _check_out(folder: Path, place: Path, reference: str | os.PathLike[str]) -> None:
    """Raises UserError, before any work, for a folder that is not this command's to write; `place` is its search's."""
    refuse_overwriting(folder, os.fspath(reference), "the network")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; --out names a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not is_run(folder):
        raise UserError(f"{folder}: is not empty and not a run; choose another --out")
    if read_json(folder / RECIPE).get("arguments", {}).get("weights") != str(place):
        raise UserError(f"{folder}: is a run that prune did not make; choose another --out")


def _train(
    search: Search,
    loaded: Loaded,
    dataset: Dataset,
    folder: Path,
    minutes: float | None,
    arguments: dict[str, Any],
    *,
    restart: bool,
) -> dict[str, Any]:
    """Trains what the search found to an end, taught by the original; the answer of `train`."""
    pruned = load(search.folder)
    start = make_start(str(search.folder), pruned.spec, pruned.network.state_dict(), pruned.labels)
    network = loaded.network
    sha256 = make_start(loaded.reference, loaded.spec, network.state_dict(), loaded.labels).sha256
    teacher = teacher_of_network(loaded.reference, loaded.recognised, sha256, network, loaded.labels)
    asked = Arguments(
        data=str(dataset.root),
        model=None,
        labels=arguments["labels"] or loaded.data_labels,
        minutes=None if minutes is None else round(minutes, 2),
        resolution=loaded.spec.resolution,
        width=None,
        total_stride=None,
        seed=arguments["seed"],
        recipe="auto",
        changes=Changes(freeze="none", epochs=arguments["epochs"], set=("tuning.probe=no",)),
        device="cpu",
        precision="auto",
        weights=str(search.folder),
        teaching=Teaching(teacher=loaded.reference, temperature=1.0),
    )
    return run_training(asked, folder, start=start, teacher=teacher, restart=restart)


def _result(
    folder: Path,
    loaded: Loaded,
    dataset: Dataset,
    search: Search,
    budget: Budget,
    limit: float,
    trained: dict[str, Any],
    arguments: dict[str, Any],
) -> dict[str, Any]:
    network = open_run(folder).network()
    before, after = cost(loaded.spec), cost(network.spec)
    result = {
        "run": str(folder),
        "network": loaded.reference,
        "target": arguments["target"],
        "threads": arguments["threads"],
        "keep": arguments["keep"],
        "method": arguments["method"],
        "criterion": arguments["criterion"],
        "macs": {"before": before.macs, "after": after.macs},
        "params": {"before": before.params, "after": after.params},
        "latency": None,
        "original": _original(loaded, dataset),
        "report": trained["report"],
        "steps": search.steps,
        "search_seconds": round(search.seconds, 1),
        "ok": True,
    }
    if isinstance(budget, MeasuredLatency):
        assert budget.model is not None
        whole, now = budget.stopwatch.base_ms, budget.measure_network(network)
        result["latency"] = {
            "before_ms": whole,
            "after_ms": now,
            "ratio": now / whole,
            "model_error": budget.model.error,
            "model_error_90": budget.model.error_90,
            "measured": budget.rows,
        }
        result["ok"] = now <= limit * 1.05
    return result


def _original(loaded: Loaded, dataset: Dataset) -> dict[str, Any]:
    """What the original scores on the reported split."""
    parts = roles(dataset)
    columns = known_columns(dataset, loaded)
    assert columns is not None
    session = TorchSession(loaded.network)
    found = score(dataset, parts.report, [session], loaded.preprocessing, columns, "original")
    scores = classification_report(found.logits[0], found.labels, loaded.names, found.files, mistakes=0)
    return {"split": parts.report_name} | {name: scores[name] for name in ("images", "top1", "top1_interval")}
