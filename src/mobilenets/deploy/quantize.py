"""`quantize`: an int8 network whose loss is known, explained by layer, and repaired."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arch.check import check_count
from ..compress.quiet import quiet
from ..console import say
from ..data.addresses import address_of
from ..data.dataset import Dataset, open_dataset
from ..errors import UserError
from ..extras import absent
from ..tasks.calibration import fit_decision
from ..tasks.classify import classification_report, wilson
from ..tasks.evaluation import evaluation
from .calibrate import LEAST, own_data, read_images
from .load import Loaded, TorchSession, load
from .plan import check_installed, plan_files
from .quantise_data import Keep, Parts, divide
from .quantise_swap import check_swap, swapped
from .quantise_training import passes_over, train_, training_images
from .quantised_run import add_latency, check_out, write_quantised
from .runtimes import FLOAT32, INT8, Runtime, Session, runtime
from .score import Scored, known_columns, score

if TYPE_CHECKING:
    from ..compress.adviser import Advice, Tried
    from ..compress.simulation import Simulation
    from .wrap import Shipped

CALIBRATION_IMAGES = 512  # at most: fewer where the ranges have converged
SECONDS = 1.0  # of measuring each file of the target


def quantize(
    reference: str | os.PathLike[str],
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    labels: str | None = None,
    max_drop: float = 0.005,
    target: str | None = None,
    minutes: float | None = None,
    calibration: str = "min-max",
    calibration_images: int = CALIBRATION_IMAGES,
    keep_float: Sequence[str] = (),
    qat: bool = False,
    qat_epochs: int | None = None,
    swap: str | None = None,
) -> dict[str, Any]:
    """Writes the int8 form of a Run, or of published weights, as a Run. Returns what `quantize --json` prints.

    Scales come from training images of `data` (else of the Run's own), decisions from its selection images, and the
    reported split is scored once, at the end. Repairs that cost nothing are tried in order of the time they take, until
    at most `max_drop` (0...1) of top-1 is lost, 98 % of the answers are the float network's with 95 % confidence, and
    the SQNR of the logits is 30 dB; layers are left in
    float only where more than `max_drop` of top-1 or 5 % of the answers would be lost otherwise. `ok` says whether that
    was reached on the selection images. `target` is a runtime, whose float32 and int8 files are measured. `minutes`: no
    repair is begun after that many. `keep_float` names layers that stay in float whatever it brings. `qat`: the network
    is then trained as it rounds, taught by the float one, for `qat_epochs` passes over the training images (None: as
    many as 10,000 images make, 3 to 30), and the training ends with the minutes. `swap` (relu6 or relu) first takes the
    place of hard-swish, and the network is trained over as many images, taught by what it was; every drop is one from
    that. Raises UserError, one line, for what cannot be.
    """
    plan = _check(max_drop, minutes, calibration, calibration_images, target)
    if qat_epochs is not None:
        if not qat:
            raise UserError(f"qat epochs {qat_epochs} goes with --qat")
        check_count("qat epochs", qat_epochs, 1)
    with quiet():
        from ..compress.adviser import Adviser, Bounds, Repair
    from .wrap import Shipped

    loaded = load(reference)
    if loaded.int8 is not None:
        raise UserError(f"{loaded.reference}: is quantised already; give the run that it was made from")
    if loaded.kind not in ("run", "weights") or not loaded.spec.head.classes:
        raise UserError(
            f"{loaded.reference}: {loaded.recognised}; quantize takes a run or published weights with classes"
        )
    if labels is not None and data is None:
        raise UserError(f"labels {labels} goes with --data")
    folder = Path(out)
    check_out(folder, loaded)
    if swap is not None:
        check_swap(loaded, swap)
    _check_layers(Shipped(loaded.network), keep_float)
    dataset = own_data(loaded) if data is None else open_dataset(data, labels=labels, strict=False)
    columns = known_columns(dataset, loaded)
    parts = divide(dataset, calibration_images)

    original, loader = loaded, training_images(dataset, loaded) if qat or swap is not None else None
    if swap is not None and loader is not None:
        if columns is None:
            raise UserError(f"swap {swap}: {dataset.root} has other classes than {loaded.reference}")
        loaded = swapped(loaded, swap, loader, passes_over(loader))  # type: ignore[arg-type]
    shipped = Shipped(loaded.network)
    images = read_images(dataset, parts.calibration, loaded)
    chosen = _read(loaded, dataset, parts, columns)
    say(f"at most {len(images)} images calibrate, {parts.decides}")
    advice = Adviser(
        shipped,
        images,
        chosen.logits[0],
        None if columns is None else chosen.labels,
        bounds=Bounds(drop=max_drop),
        seconds=None if minutes is None else 60 * minutes,
        first=Repair(calibration=calibration, in_float=tuple(sorted(set(keep_float)))),
        train=None if loader is None or not qat else partial(train_, shipped, loader, images, qat_epochs),
    ).advise()
    decision = None if columns is None else fit_decision(advice.chosen.logits(chosen.logits[0]), chosen.labels)
    facts, evaluated = _report(original, dataset, parts, columns, advice.chosen, decision)
    selection = _selection(advice, len(chosen.labels))
    if swap is not None:
        before = TorchSession(original.network).run(chosen.logits[0]).argmax(1)
        selection["top1_float"] = float((before == chosen.labels).mean())
    result = {
        "run": str(folder),
        "network": loaded.reference,
        "ok": advice.ok and _lost(selection) <= max_drop + 1e-9,
        "max_drop": max_drop,
        "data": address_of(dataset.root),
        "calibration_images": advice.calibration_images,
        "selection": selection,
        "split": parts.report_name,
        **facts,
        "swap": swap,
        "int8_macs": advice.best.int8_macs,
        "repair": asdict(advice.best.repair) | {"words": advice.best.repair.describe()},
        "tried": [_row(tried) for tried in advice.tried],
        "layers": [asdict(row) for row in advice.layers],
        "latency": None,
    }
    asked = {
        "data": None if data is None else str(data),
        "labels": labels,
        "max_drop": max_drop,
        "target": target,
        "minutes": minutes,
        "calibration": calibration,
        "calibration_images": calibration_images,
        "keep_float": ",".join(keep_float) or None,
        "qat": qat,
        "qat_epochs": qat_epochs,
        "swap": swap,
    }
    known = {"form": dataset.form, "images": {"reported": facts["images"]}}
    write_quantised(folder, loaded, advice.chosen, result | {"arguments": asked, "known": known}, decision, evaluated)
    if target is not None:
        result["latency"] = _latency(loaded, advice.chosen, target, plan)
        add_latency(folder, result["latency"])
    return result


def _check_layers(shipped: Shipped, names: Sequence[str]) -> None:
    """Raises UserError for a layer that the network does not have."""
    from ..compress.simulation import Simulation

    if names:
        size = shipped.spec.resolution
        Simulation(shipped, np.zeros((1, size, size, 3), np.uint8)).leave_in_float(names)


def _check(
    max_drop: float, minutes: float | None, calibration: str, calibration_images: int, target: str | None
) -> list[tuple[Runtime, str]]:
    """The files to measure; raises UserError for what can be told to be wrong before any work."""
    if not 0 <= max_drop <= 1:
        raise UserError(f"max drop {max_drop:g} is out of range: allowed is 0 to 1")
    if minutes is not None and not minutes > 0:
        raise UserError(f"minutes {minutes:g} is out of range: allowed is above 0")
    if calibration_images < LEAST:
        raise UserError(f"calibration images {calibration_images} is out of range: allowed is {LEAST} or more")
    if missing := absent("int8", "torchao"):
        raise UserError(missing)
    from ..compress.ranges import range_method

    range_method(calibration)
    if target is None:
        return []
    chosen = runtime(target)
    reason = chosen.elsewhere() or chosen.unmeasured
    if INT8 not in chosen.calibrated or INT8 not in chosen.precisions:
        reason = "it has no int8 made from a table"
    if reason:
        raise UserError(f"target {target}: its int8 cannot be measured here: {reason}")
    plan = plan_files([chosen], (FLOAT32, INT8))
    check_installed(plan)
    return plan


def _read(loaded: Loaded, dataset: Dataset, parts: Parts, columns: list[int] | None) -> Scored:
    """The selection images and their labels, the images in place of logits."""
    places = columns or [0] * len(dataset.classes)
    return score(dataset, parts.selection, [Keep()], loaded.preprocessing, places, "read")


def _report(
    loaded: Loaded,
    dataset: Dataset,
    parts: Parts,
    columns: list[int] | None,
    chosen: Simulation,
    decision: dict[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The answer's facts about the reported split, which is scored here and nowhere else; a Run's evaluation of it."""
    from ..compress.sensitivity import sqnr_db
    from .int8_session import Int8Session

    places = columns or [0] * len(dataset.classes)
    sessions: list[Session] = [TorchSession(loaded.network), Int8Session(chosen)]
    found = score(dataset, parts.report, sessions, loaded.preprocessing, places, "report")
    exact, int8 = found.logits
    same = int((exact.argmax(1) == int8.argmax(1)).sum())
    facts: dict[str, Any] = {
        "images": len(exact),
        "agreement": same / len(exact),
        "agreement_interval": list(wilson(same, len(exact))),
        "sqnr_db": sqnr_db(exact, int8),
    }
    names = ("top1_float", "top1_int8")
    if columns is None or decision is None:
        return facts | dict.fromkeys([*names, *(f"{name}_interval" for name in names), "drop"]), None
    for name, logits in zip(names, found.logits):
        scores = classification_report(logits, found.labels, loaded.names, found.files, mistakes=0)
        facts[name], facts[f"{name}_interval"] = scores["top1"], scores["top1_interval"]
    head = {"network": loaded.reference, "data": address_of(dataset.root), "split": parts.report_name}
    facts["drop"] = facts["top1_float"] - facts["top1_int8"]
    return facts, head | evaluation(int8, found.labels, loaded.names, found.files, decision)


def _selection(advice: Advice, images: int) -> dict[str, Any]:
    return {
        "images": images,
        "top1_float": advice.top1_float,
        "top1_int8": advice.best.top1,
        "agreement": advice.best.agreement,
        "sqnr_db": advice.best.sqnr_db,
    }


def _lost(selection: dict[str, Any]) -> float:
    """Top-1 lost on the selection images; 0 without labels."""
    exact, int8 = selection["top1_float"], selection["top1_int8"]
    return 0.0 if exact is None or int8 is None else exact - int8


def _row(tried: Tried) -> dict[str, Any]:
    return asdict(tried) | {"words": tried.repair.describe()}


def _latency(loaded: Loaded, chosen: Simulation, target: str, plan: Sequence[tuple[Runtime, str]]) -> dict[str, Any]:
    """Milliseconds of the target's float32 and int8 files on this machine, one thread, measured in turns."""
    from .bench import bench
    from .export import Source, write_bundle

    source = Source(loaded, None, None, CALIBRATION_IMAGES)
    source.quantised = chosen.converted()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        write_bundle(bundle, source, plan)
        measured = bench(bundle, threads=(1,), seconds=SECONDS)
    times = {row["precision"]: row["median_ms"] for row in measured["files"]}
    faster = times[FLOAT32] / times[INT8]
    if faster < 1:
        say(f"{target}: int8 is slower than float32 on this machine, {times[INT8]:.2f} against {times[FLOAT32]:.2f} ms")
    return {
        "runtime": target,
        "threads": 1,
        "float32_ms": times[FLOAT32],
        "int8_ms": times[INT8],
        "speedup": faster,
        "machine": measured["machine"],
    }
