"""MLflow and other trackers: what they are told, that a training goes on in the same run, and that none can end one."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dying import die_and_go_on
from mlflow_server import MlflowServer, serving_mlflow

from mobilenets import cost, train
from mobilenets.cli.main import main
from mobilenets.errors import UserError
from mobilenets.training import epochs
from mobilenets.training.mlflow import FILES, TRACKING, MlflowTracker
from mobilenets.training.mlflow_values import epoch_metrics, parameters
from mobilenets.training.run import EVALUATION, METRICS, open_run

SETTINGS: dict[str, Any] = {"model": "mobilenet_v1_025", "resolution": 32, "total_stride": 32, "batch_size": 32}
OF_MLFLOW = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")


@pytest.fixture(autouse=True)
def only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder that is the test's own, and none of MLflow's settings."""
    if importlib.util.find_spec("mlflow") is None:  # not importorskip: it would import it with its own settings
        pytest.skip("needs MLflow")
    for name in OF_MLFLOW:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished Run of three epochs that no MLflow followed."""
    run = tmp_path_factory.mktemp("finished") / "run"
    train(shapes, out=run, epochs=3, **SETTINGS)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that Run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A server that MLFLOW_TRACKING_URI names; calls are not repeated."""
    with serving_mlflow() as running:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield running


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def steps(tracked: dict[str, Any], key: str = "train_loss") -> list[int]:
    return [step for name, _, step in tracked["metrics"] if name == key]


@pytest.mark.slow  # the database's tables take seconds to make
def test_a_sqlite_file_holds_the_run(shapes: Path, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    result = train(shapes, out="run", epochs=2, track="mlflow", **SETTINGS)
    noted = json.loads((tmp_path / "run" / TRACKING).read_text())
    assert noted["uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=noted["uri"])
    tracked = client.get_run(noted["run_id"])
    assert (tracked.info.status, tracked.info.run_name) == ("FINISHED", "run")
    assert tracked.data.params["arguments.model"] == "mobilenet_v1_025"
    assert tracked.data.params["recipe.optimiser.name"] == "adamw"
    assert tracked.data.params["data.fingerprint"] == open_run("run").recipe["data"]["fingerprint"]
    assert int(tracked.data.params["model.macs"]) == cost(open_run("run").spec).macs
    rows = rows_of(tmp_path / "run")
    for name in ("train_loss", "lr", "val_top1", "images_per_second"):
        history = client.get_metric_history(noted["run_id"], name)
        assert [(point.step, point.value) for point in history] == [(row["epoch"], row[name]) for row in rows]
    assert tracked.data.metrics["report_top1"] == result["report"]["top1"]
    ends = [tracked.data.metrics[f"report_top1_{end}"] for end in ("low", "high")]
    assert ends == result["report"]["top1_interval"]
    assert tracked.data.metrics["best_epoch"] == result["best"]["epoch"]
    kept = Path(tracked.info.artifact_uri)
    assert all((kept / name).read_bytes() == (tmp_path / "run" / name).read_bytes() for name in FILES)
    assert open_run(kept).network().spec == open_run("run").spec  # what is kept there is a Run itself


@pytest.mark.parametrize(("target", "call"), [("score", 2), ("save", 3), ("write_report", 1)])
def test_a_stopped_training_goes_on_in_the_same_run(
    shapes: Path, tmp_path: Path, server: MlflowServer, target: str, call: int
) -> None:
    def again() -> dict[str, Any]:
        return train(shapes, out="run", epochs=3, track="mlflow", **SETTINGS)

    with pytest.MonkeyPatch.context() as its_own:  # which it undoes
        die_and_go_on(its_own, target, call, again)
    tracked = server.only_run()
    assert tracked["info"]["status"] == "FINISHED"
    assert steps(tracked) == [1, 2, 3]  # none twice, none missing
    assert [value for name, value, _ in tracked["metrics"] if name == "val_loss"] == [
        row["val_loss"] for row in rows_of(tmp_path / "run")
    ]
    assert set(tracked["files"]) == set(FILES)


def test_a_stop_by_hand_and_one_by_an_error_are_told_apart(
    shapes: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, status in ((KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")):

        def stop(*_: object, error: type[BaseException] = error) -> None:
            raise error

        monkeypatch.setattr(epochs.Training, "evaluate", stop)
        with pytest.raises(error):
            train(shapes, out="run", epochs=1, track="mlflow", **SETTINGS)
        assert server.only_run()["info"]["status"] == status


def test_a_finished_run_is_sent_afterwards_and_once(shapes: Path, run: Path, server: MlflowServer) -> None:
    result = train(shapes, out=run, epochs=3, track="mlflow", **SETTINGS)
    before = json.dumps(server.runs, default=str)
    assert steps(server.only_run()) == [1, 2, 3]
    assert train(shapes, out=run, epochs=3, track="mlflow", **SETTINGS) == result
    assert json.dumps(server.runs, default=str) == before


def test_a_server_that_dies_costs_the_training_nothing(
    shapes: Path, tmp_path: Path, server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    class Switch:
        """Takes the server down after the first epoch."""

        def __init__(self) -> None:
            self.inner = MlflowTracker(Path("run"))
            self.start, self.finish, self.close = self.inner.start, self.inner.finish, self.inner.close

        def log(self, row: dict[str, Any]) -> None:
            self.inner.log(row)
            server.down = True

    result = train(shapes, out="run", epochs=4, track=Switch(), **SETTINGS)
    assert result["epochs"] == 4
    assert steps(server.only_run()) == [1]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: MLflow")]
    assert len(told) == 2
    assert "the training goes on" in told[0]
    assert told[1].endswith("lacks a part of run; the same command sends it")
    server.down = False
    train(shapes, out="run", epochs=4, track="mlflow", **SETTINGS)
    assert steps(server.only_run()) == [1, 2, 3, 4]
    assert server.only_run()["info"]["status"] == "FINISHED"


def test_a_dead_server_is_asked_less_and_less_often(run: Path, server: MlflowServer) -> None:
    tracker = MlflowTracker(run)
    tracker.start([])
    server.down = True
    row, tried = rows_of(run)[0], []
    for epoch in range(1, 17):
        before = len(server.asked)
        tracker.log(row | {"epoch": epoch})
        tried += [epoch] * (len(server.asked) > before)
    assert tried == [1, 2, 4, 8, 16]
    server.down = False
    for epoch in range(17, 33):
        tracker.log(row | {"epoch": epoch})
    assert steps(server.only_run()) == list(range(1, 33))


def test_what_arrived_though_its_answer_was_lost_is_not_sent_again(run: Path, server: MlflowServer) -> None:
    tracker, row = MlflowTracker(run), rows_of(run)[0]
    tracker.start([])
    for epoch in range(1, 5):
        server.lost = epoch == 2
        tracker.log(row | {"epoch": epoch})
    assert steps(server.only_run()) == [1, 2, 3, 4]


def test_a_long_history_goes_in_batches(run: Path, server: MlflowServer) -> None:
    rows = [rows_of(run)[0] | {"epoch": epoch} for epoch in range(1, 401)]
    MlflowTracker(run).start(rows)
    assert steps(server.only_run()) == list(range(1, 401))


def test_another_place_or_a_deleted_run_begins_a_new_one(run: Path, server: MlflowServer) -> None:
    MlflowTracker(run).start([])
    server.only_run()["info"]["lifecycle_stage"] = "deleted"
    MlflowTracker(run).start(rows_of(run))
    assert [steps(each) for each in server.runs.values()] == [[], [1, 2, 3]]
    noted = json.loads((run / TRACKING).read_text())
    (run / TRACKING).write_text(json.dumps(noted | {"uri": "http://elsewhere"}))
    MlflowTracker(run).start([])
    assert len(server.runs) == 3


def test_without_a_setting_it_goes_on_where_it_was(
    run: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    MlflowTracker(run).start([])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert MlflowTracker(run).place == server.address


def test_the_experiment_is_the_users(run: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "hands")
    MlflowTracker(run).start([])
    MlflowTracker(run).start([])
    assert server.experiments == {"hands": "1"}


def test_no_password_is_shown_or_kept(
    run: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address.replace("//", "//someone:secret@"))
    MlflowTracker(run).start([])
    assert "secret" not in (run / TRACKING).read_text() + capsys.readouterr().err
    assert json.loads((run / TRACKING).read_text())["uri"] == server.address


def test_a_server_that_does_not_answer_is_one_line_before_anything_is_done(
    shapes: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    status = main(["train", str(shapes), "--out", str(run), "--restart", "--track", "mlflow"])
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert captured.err == f"error: MLflow at {address} cannot be used: it does not answer (ConnectionError)\n"
    assert (run / EVALUATION).exists()  # nothing was deleted for it


@pytest.mark.parametrize(
    ("missing", "without"),
    [("mlflow", ["mlflow", "mlflow.tracking"]), ("sqlalchemy", ["sqlalchemy"])],
)
def test_what_is_not_installed_is_named(
    shapes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    without: list[str],
) -> None:
    monkeypatch.delitem(sys.modules, "mlflow.store.tracking.sqlalchemy_store", raising=False)
    for name in without:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["train", str(shapes), "--out", "run", "--track", "mlflow"]) == 2
    error = capsys.readouterr().err
    assert error == (
        f'error: track mlflow needs MLflow, and {missing} is not installed: pip install "mobilenets[mlflow]"\n'
    )


def test_an_unknown_name_and_no_tracker_are_refused(shapes: Path) -> None:
    with pytest.raises(UserError, match="unknown tracker 'wandb'; allowed: mlflow"):
        train(shapes, out="run", track="wandb", **SETTINGS)
    with pytest.raises(UserError, match="is no tracker: it has start, log, finish and close"):
        train(shapes, out="run", track=3, **SETTINGS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="track goes with a training"):
        train(shapes, out="run", track="mlflow", find_lr=True, **SETTINGS)


def test_an_object_of_the_users_follows(shapes: Path, run: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    class Mine:
        def __getattr__(self, name: str) -> Callable[..., None]:
            if name not in ("start", "log", "finish", "close"):
                raise AttributeError(name)
            return lambda given: calls.append((name, given))

    result = train(shapes, out="new", epochs=2, track=Mine(), **SETTINGS)
    assert [name for name, _ in calls] == ["start", "log", "log", "finish", "close"]
    assert [given["epoch"] for name, given in calls if name == "log"] == [1, 2]
    assert calls[3][1]["top1"] == result["report"]["top1"]
    assert calls[4] == ("close", None)
    calls.clear()
    train(shapes, out=run, epochs=3, track=Mine(), **SETTINGS)
    assert [name for name, _ in calls] == ["start", "finish", "close"]
    assert len(calls[0][1]) == 3


def test_json_on_stdout_stays_alone(
    shapes: Path, run: Path, server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "mobilenet_v1_025", "--resolution", "32", "--total-stride", "32", "--batch-size", "32"]
    capsys.readouterr()
    assert main(["train", str(shapes), "--out", str(run), "--epochs", "3", *words, "--track", "mlflow", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3
    assert server.only_run()["info"]["status"] == "FINISHED"


def test_parameters_are_flat_text_without_what_was_left_out(run: Path) -> None:
    found = parameters(run)
    assert found["recipe.optimiser.betas"] == "[0.9, 0.99]"
    assert found["recipe.augmentation.flip"] == "true"
    assert "arguments.minutes" not in found
    assert not any(name.startswith("teacher") for name in found)


def test_an_interval_becomes_its_ends() -> None:
    row = {"epoch": 3, "step": 9, "ema": True, "val_top1": 0.5, "val_top1_interval": [0.4, 0.6], "val_images": 8}
    assert epoch_metrics(row) == {"val_top1": 0.5, "val_top1_low": 0.4, "val_top1_high": 0.6, "val_images": 8.0}
