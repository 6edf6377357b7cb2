"""What every kind of training does around its epochs: scoring, keeping the best, committing to disk, the end."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arch.spec import Spec
from ..atomic import write_json, write_text
from ..console import say
from ..data.addresses import address_of
from ..data.dataset import Dataset
from ..data.loader import Loader, scoring_batches
from ..data.roles import Roles
from ..errors import UserError
from ..nn.network import Network, build_network
from ..nn.placement import placed
from ..tasks.calibration import fit_decision
from ..tasks.classify import classification_report
from ..tasks.evaluation import evaluation
from .loop import EpochResult, LabelLoss, LossOf, Normaliser, logits_by_batch
from .parallel import Ranks
from .recipe import Recipe
from .report import write_report
from .run import DECISION, EVALUATION, LAST, METRICS, RECIPE, open_run, read_json, selection_key
from .session import Session
from .stopping import Stop
from .tracking import Tracker, tracked

NO_LIMIT = 100_000  # epochs, where the clock ends the training
KEPT_SELECTION_BYTES = 512 * 2**20


class Training(ABC):
    """One training from its Run's last checkpoint to its report; a subclass says what an epoch is."""

    def __init__(
        self,
        run: Path,
        spec: Spec,
        dataset: Dataset,
        parts: Roles,
        recipe: Recipe,
        loader: Loader,
        session: Session,
        normalise: Normaliser,
        *,
        minutes: float | None,
        bfloat16: bool,
        ranks: Ranks,
    ) -> None:
        self.run, self.spec, self.dataset, self.parts = run, spec, dataset, parts
        self.recipe, self.loader, self.session, self.normalise = recipe, loader, session, normalise
        self.device = normalise.mean.device
        self.bfloat16 = bfloat16
        self.ranks = ranks
        self.stop = Stop()
        self.limit = None if minutes is None else 60 * minutes
        self.loss_of: LossOf = LabelLoss(recipe.loss)
        self.trackers: Sequence[Tracker] = ()
        self._selection: list[tuple[np.ndarray, np.ndarray]] | None = None

    def result(self) -> dict[str, Any]:
        """Trains what is left to train, scores the reported split once, writes the report."""
        session, ranks = self.session, self.ranks
        if ranks.first((self.run / LAST).exists):
            session.restore(self.run, ranks)
            ranks.first(self.write_metrics)  # a kill may have come between checkpoint and metrics
            if not session.finished:
                say(f"going on after {self.place()}")
        with tracked(self.trackers, session.history):
            if not session.finished:
                self.train()
            if not ranks.first(lambda: all((self.run / name).exists() for name in (DECISION, EVALUATION))):
                self.evaluate()
            return ranks.first(self._told)

    def place(self) -> str:
        """How far the training is, in words."""
        epoch, part = self.session.epoch, self.session.part
        return f"epoch {epoch}" if part is None else f"step {part.steps} of epoch {epoch + 1}"

    def _told(self) -> dict[str, Any]:
        """Leaves the Run finished; returns what is told of it."""
        session = self.session
        self.tidy()
        write_report(self.run)
        evaluation = read_json(self.run / EVALUATION)
        for tracker in self.trackers:
            tracker.finish(evaluation)
        return {
            "run": str(self.run),
            "model": self.spec.name,
            "weights": read_json(self.run / RECIPE).get("start"),
            "teacher": read_json(self.run / RECIPE).get("teacher"),
            "best": session.best,
            "report": {k: evaluation[k] for k in ("split", "images", "top1", "top1_interval", "top5", "f1")},
            "epochs": session.epoch,
            "seconds": round(session.elapsed, 1),
            "images_per_second": round(session.images / max(session.trained_seconds, 1e-9), 1),
            "files": {"report": str(self.run / "report.html")},
        }

    @abstractmethod
    def train(self) -> None:
        """Does the epochs that are left, then `finish`."""

    def tidy(self) -> None:  # noqa: B027 - nothing to do is a fine default
        """Removes what only an unfinished training needs."""

    def clock(self) -> Callable[[], float]:
        """Seconds since the training began, pauses left out, counted from now on."""
        before, started = self.session.elapsed, time.perf_counter()
        return lambda: before + time.perf_counter() - started

    def finish_epoch(self, outcome: EpochResult, elapsed: Callable[[], float], **more: Any) -> None:
        """Scores the selection images, keeps the best weights, and commits the epoch to disk.

        `more` goes into its row of the metrics.
        """
        session = self.session
        if outcome.steps == 0:
            session.part = None
            return
        row = self.score(outcome) | more  # it may leave by a signal: nothing has moved yet
        session.epoch += 1
        session.part = None
        session.images += outcome.images
        session.trained_seconds += outcome.seconds
        session.history.append(row)
        better = session.best is None or selection_key(row) > selection_key(session.best)
        if better:
            session.best = row
        session.finished = session.epoch >= self.recipe.epochs
        row["seconds"] = session.elapsed = round(elapsed(), 3)
        self.ranks.first(lambda: self._commit(row, better=better))
        low, high = row["val_top1_interval"]
        say(
            f"epoch {session.epoch}{self.total}  loss {row['train_loss']:.3f}  "
            f"selection top-1 {row['val_top1']:.1%} ({low:.1%}-{high:.1%}, {row['val_images']} images)"
            f"{' *' if better else ''}  {row['images_per_second']:.0f} images/s"
        )

    def _commit(self, row: dict[str, Any], *, better: bool) -> None:
        """Writes what an epoch came to, and tells who follows."""
        if better:
            self.session.save_best(self.run)  # before the checkpoint: a kill between the two repeats this epoch
        self.session.save(self.run)
        self.write_metrics()
        for tracker in self.trackers:
            tracker.log(row)

    def checkpoint(self) -> None:  # noqa: B027 - as above
        """Keeps what is done of an unfinished epoch, if anything; subclasses that can stop amid one do so."""

    def leave_if_asked(self) -> None:
        """Where a signal asked this process to end: a checkpoint, and then it does. Not for amid a step."""
        if self.stop.asked is not None:
            self.checkpoint()
            self.stop.obey()

    def finish(self, elapsed: float) -> None:
        """Commits that nothing is left to train. Raises UserError where the minutes were over before the first step."""
        if self.session.best is None and self.limit is not None:
            raise UserError(f"minutes {self.limit / 60:g} were over before the first step: give more")
        self.session.finished = True
        self.session.elapsed = elapsed
        self.ranks.first(lambda: self.session.save(self.run))

    @property
    def steps(self) -> int:
        """Steps in a whole epoch."""
        return self.loader.steps

    @property
    def total(self) -> str:
        """`/N` where the number of epochs is known."""
        return "" if self.recipe.epochs >= NO_LIMIT else f"/{self.recipe.epochs}"

    def write_metrics(self) -> None:
        """The history as metrics.jsonl."""
        write_text(self.run / METRICS, "".join(json.dumps(row) + "\n" for row in self.session.history))

    def selection_batches(self) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """This process's part of the selection images, ready to score; kept in memory where they are few."""
        if self._selection is not None:
            return self._selection
        side = self.spec.resolution
        part = self.ranks.rank, self.ranks.world
        batches = scoring_batches(self.dataset, self.parts.selection, self.spec.preprocessing, part=part)
        if len(self.parts.selection) * side * side * 3 > KEPT_SELECTION_BYTES:
            return batches
        self._selection = list(batches)
        return self._selection

    def selection_logits(self) -> tuple[np.ndarray, np.ndarray]:
        """Logits and labels of the selection images, by the averaged weights where there are some; see `_logits`."""
        session = self.session
        scored: Network = session.network
        if session.average is not None:
            scored = placed(build_network(self.spec), self.device)
            scored.load_state_dict(session.network.state_dict() | session.average.values)
        return self._logits(scored, self.selection_batches())

    def _logits(
        self, network: Network, batches: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, C) and labels (N,) of the images that all processes score together, each once, in their order.

        They are the writer's; elsewhere none. `batches` are this process's part. Leaves where a signal asks for it.
        """

        def until_stopped() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for batch in batches:
                self.leave_if_asked()
                yield batch

        scored = self.ranks.together(lambda: logits_by_batch(network, until_stopped(), self.normalise, self.device))
        shares = self.ranks.gather(scored)
        world = len(shares)
        if not world:
            return np.zeros((0, self.spec.head.outputs), np.float32), np.zeros(0, np.int64)
        found = [shares[i % world][i // world] for i in range(sum(len(share) for share in shares))]
        return np.concatenate([logits for logits, _ in found]), np.concatenate([truth for _, truth in found])

    def score(self, outcome: EpochResult) -> dict[str, Any]:
        """The epoch's row of the metrics."""
        logits, truth = self.selection_logits()
        return self.ranks.first(lambda: self._row(outcome, logits, truth))

    def _row(self, outcome: EpochResult, logits: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        session = self.session
        names = [c.name for c in self.dataset.classes]
        scores = classification_report(logits, truth, names, [s.name for s in self.parts.selection], mistakes=0)
        return {
            "epoch": session.epoch + 1,
            "step": (session.epoch + 1) * self.steps,
            "train_loss": outcome.loss,
            **({} if outcome.lr is None else {"lr": outcome.lr}),
            "images_per_second": round(outcome.images / outcome.seconds, 1),
            "val_loss": scores["loss"],
            "val_top1": scores["top1"],
            "val_top1_interval": scores["top1_interval"],
            "val_images": scores["images"],
            "ema": session.average is not None,
        }

    def evaluate(self) -> None:
        """Fits the scores' scale on the selection images, then scores the reported split, with the selected weights.

        This is the only time that the reported split is looked at.
        """
        ranks = self.ranks
        network = placed(build_network(self.spec), self.device)
        state = ranks.first(lambda: open_run(self.run).network().state_dict())
        network.load_state_dict(state)
        part = ranks.rank, ranks.world
        batches = scoring_batches(self.dataset, self.parts.report, self.spec.preprocessing, part=part)
        with self.stop:
            selected = self._logits(network, self.selection_batches())
            logits, truth = self._logits(network, batches)
        ranks.first(lambda: self._write_evaluation(fit_decision(*selected), logits, truth))

    def _write_evaluation(self, decision: dict[str, Any], logits: np.ndarray, truth: np.ndarray) -> None:
        names = [c.name for c in self.dataset.classes]
        scores = evaluation(logits, truth, names, [s.name for s in self.parts.report], decision)
        head = {"network": str(self.run), "data": address_of(self.dataset.root), "split": self.parts.report_name}
        write_json(self.run / DECISION, decision)
        write_json(self.run / EVALUATION, head | scores)
        low, high = scores["top1_interval"]
        say(
            f"{self.parts.report_name}: top-1 {scores['top1']:.1%} "
            f"(95 % interval {low:.1%}-{high:.1%}, {scores['images']} images)"
        )

    def last_score(self) -> str:
        """The selection's last top-1 for the progress bar."""
        history = self.session.history
        return f"  selection {history[-1]['val_top1']:.1%}" if history else ""


def seconds_left(part: float, elapsed: float) -> str:
    """The time that is left in words, where the part `part` (0...1) took `elapsed` seconds."""
    if part < 0.005:
        return "…"
    seconds = elapsed * (1 - part) / part
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
