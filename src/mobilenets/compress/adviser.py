"""The adviser: from the plain int8 network to one whose loss is within bounds, the cheapest repair first.

What is decided here is decided on selection images. Every network that was tried is kept as a row: what was done, what
it scored, and how long it took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from ..console import progress, say
from ..errors import UserError
from ..tasks.classify import wilson
from .bias import correct_bias_, restore_statistics_
from .equalise import equalise_
from .lockstep import REPAIR_IMAGES
from .ranges import METHODS
from .rounding import adapt_rounding_
from .sensitivity import Sensitivity, divergence, sensitivities, sqnr_db
from .simulation import Simulation

Train = Callable[[Simulation, Callable[[Simulation], float], float | None], object]

CORRECTIONS: dict[str, Callable[[Simulation, np.ndarray], None]] = {
    "bias": correct_bias_,
    "statistics": restore_statistics_,
    "rounding": adapt_rounding_,
}
ANALYSED_IMAGES = 64  # that each layer's share of the error is measured with
WATCHED_IMAGES = 256  # selection images by which training keeps its best
_BETTER_DB = 0.1  # a repair that brings less is left out
_LEAST_INT8 = 0.5  # of all multiply-adds: with fewer it would be no int8 network


@dataclass(frozen=True)
class Repair:
    """All that makes an int8 network of a float one, given the images.

    `calibration` is one of `ranges.METHODS`; `correction` one of CORRECTIONS, or empty; `in_float` names layers;
    `trained`: quantisation-aware, after all others.
    """

    calibration: str = "min-max"
    equalise: bool = False
    correction: str = ""
    in_float: tuple[str, ...] = ()
    trained: bool = False

    def describe(self) -> str:
        """In words.

        >>> Repair("mse", correction="rounding").describe()
        'mse ranges, adapted rounding'
        """
        words = ["equalised"] * self.equalise + [f"{self.calibration} ranges"]
        named = {"bias": "bias correction", "statistics": "restored statistics", "rounding": "adapted rounding"}
        words += [named[self.correction]] if self.correction else []
        count = len(self.in_float)
        words += [f"{count} layer{'s' * (count > 1)} in float"] * bool(count)
        return ", ".join(words + ["trained"] * self.trained)


@dataclass(frozen=True)
class Tried:
    """A network that was tried and what it does on the selection images. `top1` is None without labels."""

    repair: Repair
    agreement: float
    sqnr_db: float
    top1: float | None
    int8_macs: float
    seconds: float


@dataclass(frozen=True)
class Bounds:
    """What is asked: at most `drop` of top-1 lost, at least `agreement` of the answers the same; all 0...1.

    Repairs that cost the file nothing are tried until at least `aim` of the answers are the same with 95 % confidence
    and the logits' SQNR is `sqnr_db`: a few hundred images may be lucky, and SQNR does not depend on luck.
    """

    drop: float = 0.005
    agreement: float = 0.95
    aim: float = 0.98
    sqnr_db: float = 30.0


@dataclass
class Advice:
    """What the adviser came to. `ok`: the chosen network is within the bounds on the selection images."""

    chosen: Simulation
    best: Tried
    tried: list[Tried]
    ok: bool
    top1_float: float | None
    calibration_images: int
    layers: list[Sensitivity]


class Adviser:
    """Builds int8 networks of `module` (a `deploy.wrap.Shipped`) and measures them.

    `calibration` uint8 (n, R, R, 3) sets scales and repairs; `selection` (m, R, R, 3) and `labels` (m,), places of the
    logits or None, decide. `seconds`: no new repair is begun after that many. `first` is what every network has.
    `train`, where it is given, trains a network in place until a time of `perf_counter`: `train(simulation, score,
    until)`; it leaves the best by `score`.
    """

    def __init__(
        self,
        module: nn.Module,
        calibration: np.ndarray,
        selection: np.ndarray,
        labels: np.ndarray | None,
        *,
        bounds: Bounds = Bounds(),
        seconds: float | None = None,
        first: Repair = Repair(),
        train: Train | None = None,
    ) -> None:
        self.module, self.selection, self.labels = module, selection, labels
        self.bounds, self.first, self.train = bounds, first, train
        self.until = None if seconds is None else time.perf_counter() + seconds
        plain = Simulation(module, calibration)
        self.exact = plain.logits(selection, [])
        if not np.isfinite(self.exact).all():
            raise UserError(f"{plain.spec.name}: the network's own answers are no numbers (NaN or infinite)")
        self.used = plain.watch(calibration, first.calibration, converge=True)
        self.calibration = calibration[: self.used]
        self.tried: list[Tried] = []
        self.best: tuple[Tried, Simulation] | None = None
        self.analysed: tuple[Simulation, list[Sensitivity]] | None = None

    def advise(self) -> Advice:
        """Tries repairs until a network is within the bounds, then says which layers its error comes from."""
        over = False
        steps = (self._free(), self._is_sure), (self._training(), self._never), (self._costly(), self._is_within)
        for repairs, is_enough in steps:
            while not over and (self.best is None or not is_enough(self.best[0])):
                repair = next(repairs, None)
                if repair is None:
                    break
                self._try(repair)
                over = self.until is not None and time.perf_counter() > self.until
        if over:
            say("the minutes are over: no more repairs are tried")
        best, simulation = self._best
        return Advice(
            chosen=simulation,
            best=best,
            tried=self.tried,
            ok=self._is_within(best),
            top1_float=self._top1(self.exact),
            calibration_images=self.used,
            layers=self._layers(simulation),
        )

    def build(self, repair: Repair) -> Simulation:
        """The int8 network of those repairs."""
        simulation = Simulation(self.module, self.calibration)
        few = self.calibration[:REPAIR_IMAGES]
        if repair.equalise:
            equalise_(simulation, few)
        simulation.leave_in_float(repair.in_float)
        simulation.watch(self.calibration, repair.calibration)
        if repair.correction:
            CORRECTIONS[repair.correction](simulation, few)
        if repair.trained and self.train is not None:
            self.train(simulation, self._likeness, self.until)
        return simulation

    @property
    def _best(self) -> tuple[Tried, Simulation]:
        assert self.best is not None
        return self.best

    def _free(self) -> Iterator[Repair]:
        """Repairs that cost the file neither time nor size, in order of the time they take; each on top of the best."""
        yield self.first
        for method in METHODS:
            if method != self.first.calibration:
                yield replace(self._best[0].repair, calibration=method)
        yield replace(self._best[0].repair, equalise=True)
        for correction in CORRECTIONS:
            yield replace(self._best[0].repair, correction=correction)

    def _training(self) -> Iterator[Repair]:
        """Training, where it was asked for, from the best on."""
        if self.train is not None:
            yield replace(self._best[0].repair, trained=True)

    def _costly(self) -> Iterator[Repair]:
        """Layers left in float: the one that does most harm, then twice as many each time."""
        best, simulation = self._best
        rows = [row for row in self._layers(simulation) if row.layer not in best.repair.in_float]
        worst = sorted(rows, key=lambda row: -row.sqnr_without_db)
        count = 1
        while count <= len(worst) // 2 and self.tried[-1].int8_macs >= _LEAST_INT8:
            names = {*self.first.in_float, *(row.layer for row in worst[:count])}
            yield replace(self._best[0].repair, in_float=tuple(sorted(names)))
            count *= 2

    def _try(self, repair: Repair) -> Tried:
        began = time.perf_counter()
        simulation = self.build(repair)
        logits = simulation.logits(self.selection)
        tried = Tried(
            repair=repair,
            agreement=float((logits.argmax(1) == self.exact.argmax(1)).mean()) if np.isfinite(logits).all() else 0.0,
            sqnr_db=sqnr_db(self.exact, logits),
            top1=self._top1(logits),
            int8_macs=simulation.int8_macs,
            seconds=round(time.perf_counter() - began, 1),
        )
        self.tried.append(tried)
        scored = "" if tried.top1 is None else f"top-1 {tried.top1:.1%}, "
        say(f"{repair.describe()}: {scored}agreement {tried.agreement:.1%}, {tried.sqnr_db:.1f} dB")
        least = min(_LEAST_INT8, self.tried[0].int8_macs)  # the first may have fewer: that was asked for
        if tried.int8_macs >= least and (self.best is None or self._is_better(tried)):
            self.best = tried, simulation
        return tried

    def _is_better(self, tried: Tried) -> bool:
        best = self._best[0]
        if self._is_within(tried) != self._is_within(best):
            return self._is_within(tried)
        return tried.sqnr_db > best.sqnr_db + _BETTER_DB

    def _likeness(self, simulation: Simulation) -> float:
        """How like the float network's answers those are: minus their divergence in nats, on some selection images."""
        return -divergence(self.exact[:WATCHED_IMAGES], simulation.logits(self.selection[:WATCHED_IMAGES]))

    def _never(self, tried: Tried) -> bool:
        return False

    def _is_within(self, tried: Tried) -> bool:
        return self._lost(tried) <= self.bounds.drop + 1e-9 and tried.agreement >= self.bounds.agreement - 1e-9

    def _is_sure(self, tried: Tried) -> bool:
        images = len(self.selection)
        least, _ = wilson(round(tried.agreement * images), images)
        return self._is_within(tried) and least >= self.bounds.aim and tried.sqnr_db >= self.bounds.sqnr_db

    def _lost(self, tried: Tried) -> float:
        exact = self._top1(self.exact)
        return 0.0 if exact is None or tried.top1 is None else exact - tried.top1

    def _top1(self, logits: np.ndarray) -> float | None:
        return None if self.labels is None else float((logits.argmax(1) == self.labels).mean())

    def _layers(self, simulation: Simulation) -> list[Sensitivity]:
        if self.analysed is not None and self.analysed[0] is simulation:
            return self.analysed[1]
        images = self.selection[:ANALYSED_IMAGES]
        labels = None if self.labels is None else self.labels[:ANALYSED_IMAGES]
        with progress() as bar:
            task = bar.add_task("layers", total=len(simulation.layers), note="")
            rows = sensitivities(simulation, images, labels, lambda done: bar.update(task, completed=done))
        self.analysed = simulation, rows
        return rows
