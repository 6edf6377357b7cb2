"""The REST calls of an MLflow server that a training makes, on 127.0.0.1, kept in memory; it can fail on demand.

Paths and bodies are those of MLflow 3.17's own server (`mlflow server`), with which the training was compared.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from running import running

API, FILES = "/api/2.0/mlflow/", "/api/2.0/mlflow-artifacts/artifacts/"


class MlflowServer(ThreadingHTTPServer):
    """`runs` by id, each with `info`, `params`, `metrics` (key, value, step) in their order, and `files` by path.

    `down`: every call is answered 503. `lost`: calls are done, and their answers lost. `asked` are the calls that came.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.experiments: dict[str, str] = {}  # id by name
        self.runs: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.down = self.lost = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def only_run(self) -> dict[str, Any]:
        """The run, where there is one."""
        (run,) = self.runs.values()
        return run

    def answer(self, call: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """What the call returns; None where what it names does not exist."""
        if call == "experiments/get-by-name":
            return self._experiment(given["experiment_name"])
        if call == "experiments/create":
            self.experiments[given["name"]] = str(len(self.experiments) + 1)
            return {"experiment_id": self.experiments[given["name"]]}
        if call == "runs/create":
            name = uuid.uuid4().hex  # the client keeps what it knows of a run for the life of the process
            info = {"run_id": name, "run_uuid": name, "run_name": given["run_name"], "status": "RUNNING"}
            info |= {"experiment_id": given["experiment_id"], "lifecycle_stage": "active"}
            info["artifact_uri"] = f"mlflow-artifacts:/{given['experiment_id']}/{name}/artifacts"
            self.runs[name] = {"info": info, "params": {}, "metrics": [], "files": {}}
            return self._run(name)
        run = self.runs.get(given["run_id"])
        if run is None:
            return None
        if call == "runs/update":
            run["info"] |= {key: value for key, value in given.items() if key in ("status", "end_time")}
            return {"run_info": run["info"]}
        if call == "runs/log-batch":
            assert len(given.get("metrics", [])) <= 1000
            assert len(given.get("params", [])) <= 100
            run["metrics"] += [(each["key"], each["value"], each["step"]) for each in given.get("metrics", [])]
            for each in given.get("params", []):
                assert run["params"].setdefault(each["key"], each["value"]) == each["value"], "parameters never change"
            return {}
        if call == "metrics/get-history":
            kept = [each for each in run["metrics"] if each[0] == given["metric_key"]]
            return {"metrics": [{"key": k, "value": v, "timestamp": 1, "step": step} for k, v, step in kept]}
        assert call == "runs/get", call
        return self._run(given["run_id"])

    def _experiment(self, name: str) -> dict[str, Any] | None:
        if name not in self.experiments:
            return None
        return {"experiment": {"experiment_id": self.experiments[name], "name": name, "lifecycle_stage": "active"}}

    def _run(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        parameters = [{"key": key, "value": value} for key, value in run["params"].items()]
        return {"run": {"info": run["info"], "data": {"params": parameters, "metrics": [], "tags": []}}}


class _Handler(BaseHTTPRequestHandler):
    server: MlflowServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = parts.path.removeprefix(API)
        self.server.asked.append(call)
        if self.server.down:
            return self._send(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "down"})
        if parts.path.startswith(FILES):
            _, run, _, name = parts.path.removeprefix(FILES).split("/", 3)
            self.server.runs[run]["files"][name] = body
            return self._send(200, {})
        given = json.loads(body) if body else dict(parse_qsl(parts.query))
        found = self.server.answer(call, given)
        if found is None:
            return self._send(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{call}: no such thing"})
        return self._send(503 if self.server.lost else 200, found)

    def _send(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving_mlflow() -> Iterator[MlflowServer]:
    """The server, running in a thread until the block ends."""
    server = MlflowServer()
    server.daemon_threads = True  # a kept connection would hold the end up
    with running(server):
        yield server
