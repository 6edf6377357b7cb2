"""`bench --device`: the benchmark programs' outputs, and adb and ssh as local programs that behave like them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import device_outputs as recorded
import pytest

from mobilenets.deploy import machine
from mobilenets.deploy.bundle import open_bundle
from mobilenets.deploy.device import connection
from mobilenets.deploy.device.bench import bench_device
from mobilenets.deploy.device.connection import device_of
from mobilenets.deploy.device.tools import read_executorch, read_litert, read_ncnn
from mobilenets.digest import digest
from mobilenets.errors import UserError

FILES = {
    "litert": ("litert/float32/model.tflite",),
    "ncnn": ("ncnn/float32/model.ncnn.param", "ncnn/float32/model.ncnn.bin"),
    "executorch": ("executorch/float32/model.pte",),
}


def test_benchmark_model_is_read() -> None:
    found = read_litert(recorded.BENCHMARK_MODEL)
    assert found is not None
    assert (found["median_ms"], found["p95_ms"], found["average_ms"]) == (1239.807, 1247.415, 1240.27)
    assert (found["runs"], found["load_ms"], found["first_run_ms"]) == (50, 5.579, 1357.602)
    assert found["cold_start_ms"] == pytest.approx(1363.181)
    assert found["file_rss_bytes"] == round(109.832 * 2**20)
    assert found["notes"] == ["TfLiteXNNPackDelegate took 109 of 112 operators"]


def test_an_older_benchmark_model_states_an_average_alone() -> None:
    found = read_litert(recorded.BENCHMARK_MODEL_2_4)
    assert found is not None
    assert (found["median_ms"], found["average_ms"], found["first_run_ms"]) == (None, 249.684, 360.262)
    assert found["file_rss_bytes"] == round(138.809 * 2**20)


def test_benchncnn_is_read() -> None:
    found = read_ncnn(recorded.BENCHNCNN)
    assert found is not None
    assert (found["average_ms"], found["runs"], found["median_ms"]) == (14.82, 10, None)


def test_executor_runner_is_read() -> None:
    found = read_executorch(recorded.EXECUTOR_RUNNER)
    assert found is not None
    assert (found["average_ms"], found["runs"], found["median_ms"]) == (15.013292, 1, None)
    assert "sum of all runs" in found["notes"][0]
    found = read_executorch(recorded.EXECUTOR_RUNNER_EACH)
    assert found is not None
    assert (found["average_ms"], found["load_ms"]) == (241.944288, 4463.268273)
    each = [f"Iteration {i} of 14: {ms} ms" for i, ms in enumerate([90.0] + 9 * [9.0] + [1.0, 2.0, 3.0, 10.0], 1)]
    found = read_executorch("\n".join([*each, "Model executed successfully 14 time(s) in 187.0 ms."]))
    assert found is not None
    assert (found["median_ms"], found["average_ms"], found["first_run_ms"], found["runs"]) == (2.5, 4.0, 90.0, 4)


@pytest.mark.parametrize("read", [read_litert, read_ncnn, read_executorch])
def test_what_is_no_such_output_gives_nothing(read: object) -> None:
    assert callable(read)
    for text in ("", "Segmentation fault", "ERROR: Could not open 'model.tflite'.", "loop_count = 4\nfopen failed"):
        assert read(text) is None


@pytest.fixture
def phone(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Bundle with files for a phone, and adb, ssh and scp that reach this machine, which has all three programs."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    for runtime, parts in FILES.items():
        for part in parts:
            (bundle / part).parent.mkdir(parents=True, exist_ok=True)
            (bundle / part).write_bytes(b"a model")
            manifest["files"][part] = {"bytes": 7, "sha256": digest(bundle / part)}
        row = {
            "runtime": runtime,
            "precision": "float32",
            "path": parts[0],
            "parts": parts,
            "size_bytes": 7 * len(parts),
        }
        manifest["models"].append(row | {"sha256": digest(bundle / parts[0]), "facts": {}})
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    places = tmp_path / "bin"
    for name, source in (("adb", recorded.ADB), ("ssh", recorded.SSH), ("scp", recorded.SCP)):
        recorded.program(places / name, source)
    recorded.program(places / "benchmark_model", recorded.printing(recorded.BENCHMARK_MODEL))
    recorded.program(places / "benchncnn", recorded.BENCHNCNN_PROGRAM)
    recorded.program(places / "executor_runner", recorded.EXECUTOR_RUNNER_PROGRAM)
    monkeypatch.setenv("PATH", f"{places}{os.pathsep}{os.environ['PATH']}")
    return bundle


def test_all_files_that_can_run_on_a_board_are_measured_there(phone: Path) -> None:
    found = bench_device(phone, "ssh:me@board", threads=(1,), seconds=0.05)
    assert [row["runtime"] for row in found["files"]] == ["ncnn", "executorch", "litert"]
    ncnn, executorch, litert = found["files"]
    assert (ncnn["average_ms"], ncnn["runs"], ncnn["ratio"]) == (4.0, 60, 1.0)
    assert (executorch["median_ms"], executorch["p99_ms"], executorch["runs"]) == (12.25, 12.25, 50)
    assert executorch["cold_start_ms"] == 4.5 + 12.25
    assert (litert["median_ms"], litert["ratio"]) == (1239.807, 1239.807 / 4.0)
    assert [row["path"] for row in found["not_run"]] == ["onnx/float32/model.onnx"]
    assert found["machine"]["cores"] == machine.cores()
    kept = open_bundle(phone).measured()["devices"]
    assert kept[found["machine"]["cpu"]]["files"] == found["files"]
    assert f"## Speed on {found['machine']['cpu']}" in (phone / "MODEL_CARD.md").read_text()
    assert "me@board" not in (phone / "measured.json").read_text()


def test_a_program_given_is_copied_to_the_device(phone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = recorded.program(
        tmp_path / "android" / "android_aarch64_benchmark_model",
        recorded.printing(recorded.BENCHMARK_MODEL_2_4),
    )
    monkeypatch.setattr(connection, "ANDROID", str(tmp_path))  # a machine that is no phone has not that folder
    found = bench_device(phone / FILES["litert"][0], "adb:emulator-5554", threads=(1,), binaries=[built])
    assert [(row["path"], row["average_ms"]) for row in found["files"]] == [(FILES["litert"][0], 249.684)]
    assert not list(tmp_path.glob("mobilenets.*"))


def test_every_failure_is_one_line(phone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(words: str, device: str = "ssh:me@board", **settings: object) -> None:
        with pytest.raises(UserError, match=words) as caught:
            bench_device(phone, device, seconds=0.05, **settings)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)

    for device in ("phone", "adb:", "ssh:", "ssh:-oProxyCommand=x", "usb:1", "ssh:a b"):
        refused("allowed: adb:SERIAL or ssh:HOST", device)
    refused("adb:1234: not reached .*device '1234' not found", "adb:1234")
    refused("ssh:elsewhere: not reached .*Could not resolve hostname elsewhere", "ssh:elsewhere")
    refused("threads 4096 is out of range: the device allows 1 to", threads=(4096,))
    refused("its name says none of benchmark_model, benchncnn, executor_runner", binaries=[phone / "bundle.json"])
    refused("no such program", binaries=[tmp_path / "benchncnn"])
    places = tmp_path / "bin"
    recorded.program(places / "executor_runner", "#!/bin/sh\necho Failed to load method forward\nexit 1\n")
    refused(r"executor_runner failed on executorch/float32/model.pte \(Failed to load method forward\)")
    recorded.program(places / "executor_runner", "#!/bin/sh\necho all went well\n")
    refused(r"executor_runner printed no times for executorch/float32/model.pte \(all went well\)")
    recorded.program(places / "executor_runner", "#!/bin/sh\nkill -SEGV $$\n")
    refused("executor_runner failed on executorch/float32/model.pte")
    (places / "executor_runner").unlink()
    refused("executor_runner is not there; build it for the device and give it as --binary PATH")
    monkeypatch.setenv("PATH", "/nowhere")
    refused("ssh:me@board: the program ssh is not on this machine's PATH")
    refused("adb:1: the program adb is not on this machine's PATH", "adb:1")


def test_a_device_that_hangs_is_given_up(phone: Path, tmp_path: Path) -> None:
    recorded.program(tmp_path / "bin" / "ssh", "#!/bin/sh\nexec sleep 20\n")
    with pytest.raises(UserError, match="ssh:me@board: no answer within 0 s"):
        device_of("ssh:me@board").shell("true", 0.2)


def test_a_bundle_without_a_file_for_a_device_is_refused(bundle: Path) -> None:
    with pytest.raises(UserError, match="none of its files is for litert, ncnn, executorch"):
        bench_device(bundle, "ssh:me@board")
