"""Training with a frozen backbone: it runs once over each copy of the images, then the classifier is solved for."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arch.cost import cost
from ..arch.spec import Spec
from ..console import progress as progress_bar
from ..console import say
from ..data.loader import scoring_batches
from .adopt import put_classifier_
from .epochs import Training
from .features import embed, gather, store, stored
from .head import Part, fit_head
from .loop import EpochResult

FEATURES = "features"  # folder in the Run, removed at the end
BACKBONE_MACS = 0.7e12  # what all copies together may cost: about half a minute on two cores
MOST_COPIES = 8


class HeadTraining(Training):
    """Each epoch adds one copy of the training images, seen by the frozen network once, and solves for the classifier.

    The first copy is the images as they are scored, the second those mirrored, where a mirrored image keeps its label;
    all others are augmented as the recipe says. Features wait on disk in the Run, so that memory stays bounded and a
    stopped training goes on. The frozen part is all that `Network.embed` computes, V3's and V4's hidden layer included.
    """

    @staticmethod
    def copies(spec: Spec, images: int) -> int:
        """How many copies of that many images to make where nobody says: 1 to 8, by what the network costs."""
        return int(min(max(BACKBONE_MACS / (cost(spec).macs * max(images, 1)), 1), MOST_COPIES))

    @property
    def steps(self) -> int:
        """One: a classifier is solved for."""
        return 1

    def train(self) -> None:
        """Copy after copy until they or the minutes are over."""
        session, elapsed = self.session, self.clock()
        if not session.epoch:
            say(f"features of {len(self.parts.train)} images, {self.total[1:]} times, then the classifier alone")
        selection = gather(self._embedded(self.selection_batches()))
        while session.epoch < self.recipe.epochs and not (session.epoch and self._over(elapsed())):
            self._epoch(selection, elapsed)
        self.finish(elapsed())

    def tidy(self) -> None:
        """Removes the features."""
        shutil.rmtree(self.run / FEATURES, ignore_errors=True)

    def _over(self, elapsed: float) -> bool:
        return self.limit is not None and elapsed >= self.limit

    def _epoch(self, selection: Part, elapsed: Any) -> None:
        began = time.perf_counter()
        copies = [self._copy(number) for number in range(self.session.epoch + 1)]
        seconds = time.perf_counter() - began
        fit = fit_head(copies, selection, self.spec.head.outputs)
        put_classifier_(self.session.network, fit.weight, fit.bias)
        images = len(copies[-1][1])
        outcome = EpochResult(fit.train_loss, None, 1, images, seconds, finished=True)
        self.finish_epoch(outcome, elapsed, weight_decay=fit.decay)

    def _copy(self, number: int) -> Part:
        """The features and labels of one copy, from disk or made now."""
        folder, name = self.run / FEATURES, str(number)
        found = stored(folder, name, self.spec.head.c_embedding)
        if found is None:
            with progress_bar() as bar:
                task = bar.add_task(f"copy {number + 1}{self.total}", total=len(self.parts.train), note="")
                store(folder, name, self._embedded(self._images(number)), lambda n: bar.update(task, completed=n))
            found = stored(folder, name, self.spec.head.c_embedding)
            assert found is not None
        return found

    def _embedded(self, batches: Any) -> Iterator[Part]:
        return embed(self.session.network, batches, self.normalise, self.device, bfloat16=self.bfloat16)

    def _images(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The images of one copy, uint8 (N, R, R, 3), and labels."""
        flip = self.recipe.augmentation.flip
        if number <= flip:
            for images, labels in scoring_batches(self.dataset, self.parts.train, self.spec.preprocessing):
                yield (images[:, :, ::-1].copy() if number else images), labels
            return
        for batch in self.loader.epoch(number):
            yield batch.images.numpy(), batch.labels.numpy()
