"""MLflow follows a training: its settings, every epoch's numbers, the final scores, and the Run's files."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..atomic import write_json
from ..console import say, warn
from ..errors import Terminated, UserError
from .mlflow_values import epoch_metrics, final_metrics, parameters
from .run import BEST, DECISION, EVALUATION, LABELS, METRICS, RECIPE, SPEC, read_json

TRACKING = "mlflow.json"  # in the Run: where it is tracked, under which id
FILES = ("report.html", SPEC, LABELS, RECIPE, METRICS, EVALUATION, DECISION, BEST)  # kept there; a Run for every verb
_ROWS_AT_ONCE, _PARAMETERS_AT_ONCE = 50, 100  # of one request; MLflow takes 1,000 metrics and 100 parameters
_SETTINGS = {  # of the library, where the user has not set them: it phones home, and tries a dead server for minutes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class MlflowTracker:
    """A Run in MLflow, see `tracking.Tracker`.

    It is kept at MLFLOW_TRACKING_URI (or where `mlflow.set_tracking_uri` says), else where the Run was tracked before,
    else in the SQLite file mlflow.db of the current folder, as MLflow itself does; under the experiment
    MLFLOW_EXPERIMENT_NAME, "mobilenets" where that is not set. A training that goes on goes on in the same MLflow run:
    what that has is asked, what it lacks is sent. Once started, a failure is told and costs the training nothing.
    """

    def __init__(self, run: Path) -> None:
        """Connects. Raises UserError where MLflow is not installed or does not answer."""
        self.run, self.place = run, ""
        self.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "mobilenets"
        with _own_settings():
            try:
                from mlflow.tracking import MlflowClient, get_tracking_uri, is_tracking_uri_set

                uri = get_tracking_uri() if is_tracking_uri_set() else self._before().get("uri")
                uri = uri or f"sqlite:///{Path('mlflow.db').resolve()}"
                self.place = _without_password(uri)
                self.client = MlflowClient(tracking_uri=uri)
                self.experiment_id = self._experiment()
            except UserError:
                raise
            except ImportError as error:
                missing = (error.name or "mlflow").partition(".")[0]
                raise UserError(
                    f'track mlflow needs MLflow, and {missing} is not installed: pip install "mobilenets[mlflow]"'
                ) from None
            except Exception as error:  # the library's own kinds, its database's and its HTTP client's
                raise UserError(f"MLflow at {self.place} cannot be used: {_reason(error)}") from None
        self.id = ""
        self.done = False
        self._unsent: list[dict[str, Any]] = []
        self._wait = self._until = 0  # epochs: between the last two attempts, and before which none is made
        self._told = self._unsure = False

    def start(self, history: Sequence[dict[str, Any]]) -> None:
        """Begins the run, or goes on with it. Raises UserError where that cannot be done."""
        try:
            with _own_settings():
                self._begin(history)
        except Exception as error:
            raise UserError(f"MLflow at {self.place} cannot be used: {_reason(error)}") from None

    def log(self, row: dict[str, Any]) -> None:
        """Sends an epoch; after a failure together with the next one, after two with the second next, and so on."""
        self._unsent.append(row)
        if row["epoch"] >= self._until:
            sent = self._attempt(self._send)
            self._wait = 0 if sent else max(1, 2 * self._wait)
            self._until = row["epoch"] + self._wait

    def finish(self, evaluation: dict[str, Any]) -> None:
        """Sends the final scores and the files, and marks the run as finished."""
        if self.done:
            return

        def send() -> None:
            self._send()
            rows = [json.loads(line) for line in (self.run / METRICS).read_text(encoding="utf-8").splitlines()]
            self._metrics((name, value, rows[-1]["epoch"]) for name, value in final_metrics(evaluation, rows).items())
            for name in FILES:
                folder = os.path.dirname(name) or None
                self.client.log_artifact(self.id, str(self.run / name), folder)
            self.client.set_terminated(self.id, "FINISHED")

        self.done = self._attempt(send)
        if not self.done:
            warn(f"MLflow at {self.place} lacks a part of {self.run}; the same command sends it")

    def close(self, error: BaseException | None) -> None:
        """Marks a run that was stopped."""
        if error is not None and self.id and not self.done:
            status = "KILLED" if isinstance(error, KeyboardInterrupt | Terminated) else "FAILED"
            self._attempt(self._send)
            self._attempt(lambda: self.client.set_terminated(self.id, status))

    def _before(self) -> dict[str, str]:
        """What an earlier process noted in the Run."""
        path = self.run / TRACKING
        return read_json(path) if path.is_file() else {}

    def _experiment(self) -> str:
        """The id of the experiment, made where it is new. Raises UserError where it was deleted."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return str(self.client.create_experiment(self.experiment))
            except MlflowException:  # another process was quicker, or it cannot be made
                found = self.client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise UserError(
                f"MLflow at {self.place}: the experiment {self.experiment} was deleted; restore it, or set "
                "MLFLOW_EXPERIMENT_NAME"
            )
        return str(found.experiment_id)

    def _begin(self, history: Sequence[dict[str, Any]]) -> None:
        found = self._found()
        if found is None:
            found = self.client.create_run(self.experiment_id, run_name=self.run.resolve().name)
            self.id = found.info.run_id
            write_json(self.run / TRACKING, {"uri": self.place, "experiment": self.experiment, "run_id": self.id})
            say(f"MLflow run {self.id} of {self.experiment} at {self.place}")
        else:
            self.id = found.info.run_id
            self.done = found.info.status == "FINISHED"
            say(f"MLflow run {self.id} of {self.experiment} at {self.place}{'' if self.done else ' goes on'}")
        if self.done:
            return
        self.client.update_run(self.id, status="RUNNING")
        self._parameters(found.data.params)
        self._unsent, self._unsure = list(history), True
        self._send()

    def _found(self) -> Any:
        """The MLflow run of an earlier process; None where there is none in this place, or it was deleted."""
        before = self._before()
        if before.get("uri") != self.place:
            return None
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(before["run_id"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _parameters(self, known: dict[str, str]) -> None:
        from mlflow.entities import Param

        new = [Param(name, value) for name, value in parameters(self.run).items() if name not in known]
        for begin in range(0, len(new), _PARAMETERS_AT_ONCE):
            self.client.log_batch(self.id, params=new[begin : begin + _PARAMETERS_AT_ONCE])

    def _send(self) -> None:
        """Sends the epochs that are waiting and, where an answer was lost, did not arrive all the same."""
        if self._unsure:
            known = {metric.step for metric in self.client.get_metric_history(self.id, "train_loss")}
            self._unsent = [row for row in self._unsent if row["epoch"] not in known]
            self._unsure = False
        while self._unsent:
            rows = self._unsent[:_ROWS_AT_ONCE]
            self._metrics((name, value, row["epoch"]) for row in rows for name, value in epoch_metrics(row).items())
            del self._unsent[: len(rows)]

    def _metrics(self, values: Iterable[tuple[str, float, int]]) -> None:
        """Sends (name, value, epoch) each."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self.client.log_batch(self.id, metrics=[Metric(name, value, now, epoch) for name, value, epoch in values])

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Whether it went well; the first failure is told."""
        try:
            with _own_settings():
                act()
        except Exception as error:  # whatever a server, a network or a disk does: the training is worth more
            if not self._told:
                warn(f"MLflow at {self.place}: {_reason(error)}; the training goes on, and tries again later")
            self._told = self._unsure = True
            return False
        return True


@contextmanager
def _own_settings() -> Iterator[None]:
    """The library, quiet and quick to give up, inside the block; the process's own settings are back after it."""
    added = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it uses of its dependencies
            yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _without_password(uri: str) -> str:
    """The address as it may be shown and kept: `https://user:password@host` without the user."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _reason(error: Exception) -> str:
    """The error in a few words: its first line, or that nobody answered, of which the library makes a paragraph."""
    cause = error.__cause__ or error.__context__ or error
    if type(cause).__module__.startswith(("requests", "urllib3")):
        return f"it does not answer ({type(cause).__name__})"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
