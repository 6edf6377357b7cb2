"""Training by steps down the gradient: epoch after epoch, with a checkpoint every few minutes and at every signal."""

from __future__ import annotations

import signal

from ..console import progress as progress_bar
from ..console import say
from ..nn.kernels import available
from .distill import Distiller
from .epochs import Training, seconds_left
from .freeze import Freezing
from .loop import Epoch
from .part import Part

CHECKPOINT_MINUTES = 10.0


class StepTraining(Training):
    """Epochs of steps. `checkpoint_minutes` lie between two checkpoints of an epoch at most, but for a step."""

    checkpoint_minutes = CHECKPOINT_MINUTES

    def train(self) -> None:
        """Epoch after epoch until they or the minutes are over."""
        session, recipe = self.session, self.recipe
        self.elapsed = self.clock()
        self.now = self.saved = self.elapsed()  # seconds, the same in all processes
        epoch = self.epoch()
        if self.device.type == "cpu":
            found, reason = available()
            if not found:
                say(f"training by plain PyTorch, without the kernels for this CPU: {reason}")

        def on_step(step: int, loss: float, speed: float) -> None:
            left = seconds_left(self._done(step), self.now)
            note = f"{speed:.0f} images/s  loss {loss:.3f}{self.last_score()}  {left} left"
            bar.update(task, completed=step, note=note, description=f"epoch {session.epoch + 1}{self.total}")

        if isinstance(self.loss_of, Distiller) and self.loss_of.cache is not None:
            self.loss_of.cache.between = self.leave_if_asked  # answers take minutes, before the step begins
        with progress_bar() as bar, self.stop:
            task = bar.add_task("train", total=self.loader.steps, note="")
            while session.epoch < recipe.epochs and (session.part is not None or self._time_is_left()):
                part = session.part = session.part or Part(self.loader.seed, session.epoch)
                outcome = epoch.run(session.epoch, part, go_on=self._go_on, progress=self._done, on_step=on_step)
                self.finish_epoch(outcome, self.elapsed)
                self._agree()
                self.saved = self.now
        self.finish(self.elapsed())

    def checkpoint(self) -> None:
        """Writes what is done of the epoch, where this is the writer and there is something."""
        part = self.session.part
        if not self.ranks.is_writer or part is None or part.steps == 0:
            return
        self.session.elapsed = self.elapsed()
        self.session.save(self.run)
        say(f"checkpoint after {self.place()}")

    def epoch(self) -> Epoch:
        """What does the steps."""
        session, recipe = self.session, self.recipe
        assert session.optimiser is not None
        return Epoch(
            network=session.network,
            loader=self.loader,
            optimiser=session.optimiser,
            recipe=recipe,
            classes=self.spec.head.outputs,
            normalise=self.normalise,
            loss_of=self.loss_of,
            average=session.average,
            beside=session.beside,
            freezing=None if recipe.tuning is None else Freezing(session.network, recipe.tuning),
            bfloat16=self.bfloat16,
            ranks=self.ranks,
        )

    def _go_on(self, part: Part) -> bool:
        """Between two steps: obeys signals, writes the checkpoint that is due, says whether time is left."""
        self._agree()
        if self.now - self.saved >= 60 * self.checkpoint_minutes:
            self.saved = self.now
            self.checkpoint()
        return self._time_is_left()

    def _agree(self) -> None:
        """Takes the writer's time; leaves, with a checkpoint, where any process was asked to."""
        asked = self.stop.asked
        now = self.elapsed() if self.ranks.is_writer else 0.0
        self.now, interrupts, terminations = self.ranks.sum(now, asked == signal.SIGINT, asked == signal.SIGTERM)
        if interrupts or terminations:
            self.checkpoint()
            self.stop.obey(signal.SIGINT if interrupts else signal.SIGTERM)

    def _time_is_left(self) -> bool:
        return self.limit is None or self.now < self.limit

    def _done(self, step: int) -> float:
        """The part of the whole training that is done after `step` steps of the epoch, 0...1."""
        by_steps = (self.session.epoch + step / self.loader.steps) / self.recipe.epochs
        return max(by_steps, self.now / self.limit if self.limit else 0.0)
