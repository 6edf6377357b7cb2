"""`bench`: what it reports, from processes of their own. How long anything takes is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from faults import MODEL, replace_file

from mobilenets import extras
from mobilenets.deploy import bench as bench_module
from mobilenets.deploy import energy, machine
from mobilenets.deploy.bench import bench, note_slow_int8, ranked
from mobilenets.deploy.benchplot import plot_bench
from mobilenets.deploy.bundle import open_bundle
from mobilenets.deploy.contestant import started, worker_command, worker_environment
from mobilenets.deploy.sustained import sustained
from mobilenets.errors import UserError


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "cores", lambda: 2)


@pytest.mark.usefixtures("two_cores")
def test_each_file_is_measured_with_each_number_of_threads(bundle: Path) -> None:
    ballast = np.ones(60_000_000)  # the parent's memory must not count as the file's
    found = bench(bundle, threads=(1, 2), seconds=0.05, rounds=2)
    assert [(row["path"], row["threads"]) for row in found["files"]] == [(MODEL, 1), (MODEL, 2)]
    for row in found["files"]:
        assert 0 < row["median_ms"] <= row["p90_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["cold_start_ms"] == row["load_ms"] + row["first_run_ms"]
        assert len(row["round_medians_ms"]) == 2
        assert row["runs"] >= 2
        assert row["size_mb"] == (bundle / MODEL).stat().st_size / 1e6
        assert 10e6 < row["start_rss_bytes"] < row["peak_rss_bytes"] < 0.5 * ballast.nbytes
        assert row["file_rss_bytes"] == row["peak_rss_bytes"] - row["start_rss_bytes"]
        assert row["ratio"] == 1.0
        assert list(row["ran"]["precisions"]) == ["float32"]
        assert row["ran"]["operators"]["GlobalAveragePool"] == 1
        assert row["ran"]["notes"] == []
        assert row["joules_per_run"] is None or found["energy_absent"] is None
    assert found["machine"]["cores"] == 2
    assert json.loads((bundle / "measured.json").read_text())["bench"]["files"] == found["files"]
    assert "## Speed" in (bundle / "MODEL_CARD.md").read_text()


def test_the_measuring_process_imports_neither_torch_nor_opencv() -> None:
    modules = "mobilenets.deploy.worker, mobilenets.deploy.runtimes.onnx"
    program = f"import sys, {modules}; print({{'torch', 'cv2'}} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_one_file_of_a_bundle_is_enough(bundle: Path) -> None:
    found = bench(bundle / MODEL, seconds=0.01, rounds=1)
    assert [row["path"] for row in found["files"]] == [MODEL]


@pytest.mark.usefixtures("two_cores")
def test_settings_out_of_range_are_refused(bundle: Path) -> None:
    for settings, words in (
        ({"threads": (3,)}, "threads 3 is out of range: this machine allows 1 to 2"),
        ({"threads": (0,)}, "threads 0"),
        ({"threads": ()}, "no number of threads"),
        ({"seconds": 0.0}, "seconds 0 is out of range"),
        ({"rounds": 0}, "rounds 0 is out of range"),
    ):
        with pytest.raises(UserError, match=words):
            bench(bundle, **settings)


def test_what_is_no_bundle_is_refused(run: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no bundle"):
        bench(run)
    with pytest.raises(UserError, match="no such bundle"):
        bench(tmp_path / "nowhere")
    (tmp_path / "stray.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="no file of one"):
        bench(tmp_path / "stray.onnx")
    (bundle / MODEL).write_bytes(b"truncated")
    with pytest.raises(UserError, match="truncated"):
        bench(bundle)


def test_a_file_that_cannot_be_run_gives_its_last_words(bundle: Path) -> None:
    replace_file(bundle, MODEL, b"no model")
    with pytest.raises(UserError, match=r"could not be run: .*not a model that onnxruntime opens"):
        bench(bundle, seconds=0.01)


@pytest.mark.skipif(machine.best_cores(1) is None, reason="this system pins no process")
def test_a_worker_keeps_to_as_many_processors_as_threads(bundle: Path) -> None:
    command = worker_command("onnx", bundle / MODEL, 32, 1)
    with started(MODEL, command, 1, worker_environment()) as contestant:
        assert os.sched_getaffinity(contestant.process.pid) == set(machine.best_cores(1) or ())
        assert len(contestant.run(0.01)) == len(contestant.rounds[0])


def test_processors_are_chosen_by_kind_and_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    assert machine.best_cores(2) == (4, 5)
    pairs = {0: "0,3", 3: "0,3", 1: "1,4", 4: "1,4", 2: "2,5", 5: "2,5"}
    for number, core in pairs.items():
        place = tmp_path / f"cpu{number}"
        (place / "topology").mkdir(parents=True)
        (place / "topology" / "thread_siblings_list").write_text(core + "\n")
        (place / "cpu_capacity").write_text("1024\n" if number in (0, 3) else "400\n")
    assert machine.best_cores(1) == (3,)  # a fast one
    assert machine.best_cores(3) == (3, 4, 5)  # one thread of each core
    assert machine.best_cores(4) == (0, 3, 4, 5)
    assert machine.clock_mhz((0, 1)) is None
    assert machine.throttled((0, 1)) is None


@pytest.mark.parametrize(
    ("told", "name", "found"),
    [
        (
            "model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni sse\n",
            "AMD EPYC",
            ["avx2", "avx512f", "avx512_vnni"],
        ),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\n", None, ["asimddp", "i8mm", "bf16"]),
        (None, None, []),
    ],
)
def test_processors_of_one_name_are_told_apart(
    told: str | None, name: str | None, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.instructions() == found
    assert machine.cpu_name()
    assert name in (None, machine.cpu_name())


def _package(root: Path, name: str, energy_uj: int) -> Path:
    zone = root / f"intel-rapl:{len(list(root.iterdir()))}"
    zone.mkdir()
    (zone / "name").write_text(name + "\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text("1000000\n")
    return zone / "energy_uj"


def test_energy_is_that_of_all_packages_past_the_counters_turn(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    assert energy.meter() == (None, "absent: this machine counts no energy")
    (tmp_path / "powercap").mkdir()
    first = _package(tmp_path / "powercap", "package-0", 900_000)
    second = _package(tmp_path / "powercap", "package-1", 5)
    _package(tmp_path / "powercap", "dram", 7)
    found, reason = energy.meter()
    assert found is not None
    assert reason is None
    before = found.read()
    first.write_text("100000\n")
    second.write_text("500005\n")
    assert found.joules(before, found.read()) == pytest.approx(0.7)
    result = bench(bundle, seconds=0.02, rounds=2)
    assert result["files"][0]["joules_per_run"] == 0.0  # the counters stand still
    assert result["energy_absent"] is None
    first.write_text("words")
    assert energy.meter()[1] == "unreadable: the counters in /sys/class/powercap give no numbers"


def test_a_long_run_says_whether_the_machine_slowed_down() -> None:
    steady = [[2.0] * 50] * 24
    slower = [[2.0] * 50] * 12 + [[2.5] * 40] * 12
    nothing = [None] * 24
    assert sustained(steady, nothing, None)["throttled"] is False
    assert sustained(steady, nothing, None)["verdict"] == "steady, 0.0% faster at the end"
    unknown = sustained(slower, nothing, None)
    assert (unknown["drift"], unknown["throttled"], unknown["clock_mhz"]) == (0.25, None, None)
    assert "this machine tells neither" in unknown["verdict"]
    hot = sustained(slower, [3000.0] * 12 + [2400.0] * 12, None)
    assert (hot["throttled"], hot["clock_mhz"]) == (True, [3000.0, 2400.0])
    assert hot["verdict"] == "25.0% slower at the end: clock 3000 to 2400 MHz"
    assert sustained(slower, nothing, 7)["verdict"] == "25.0% slower at the end: throttled 7 times"
    busy = sustained(slower, [3000.0] * 24, 0)
    assert (busy["throttled"], busy["verdict"]) == (False, "25.0% slower at the end, the clock held: other work")


def test_sustained_measures_each_file_at_one_go(bundle: Path) -> None:
    found = bench(bundle, seconds=0.3, sustained=True)
    (row,) = found["files"]
    assert len(row["round_medians_ms"]) == found["rounds"] == 24
    assert row["sustained"]["drift"] == row["sustained"]["last_ms"] / row["sustained"]["first_ms"] - 1
    assert open_bundle(bundle).measured()["sustained"]["files"] == found["files"]


def test_rows_are_ranked_among_those_with_as_many_threads() -> None:
    figures = [(2, 3.0, 3.1), (1, 8.0, 8.1), (1, None, 4.0), (2, 6.0, 6.1)]
    rows = ranked({"threads": t, "median_ms": median, "average_ms": mean} for t, median, mean in figures)
    assert [(row["threads"], row["average_ms"], row["ratio"]) for row in rows] == [
        (1, 4.0, 1.0),
        (1, 8.1, 2.0),
        (2, 3.1, 1.0),
        (2, 6.1, 2.0),
    ]


def test_a_file_whose_runtime_is_not_here_is_listed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = list(open_bundle(bundle).models)
    other = replace(models[0], runtime="elsewhere", path="elsewhere/model")
    monkeypatch.setattr(bench_module, "models_of", lambda _: (open_bundle(bundle), [*models, other]))
    monkeypatch.setattr(bench_module, "why_not", lambda name: None if name == "onnx" else "it runs on macOS alone")
    found = bench(bundle, seconds=0.01, rounds=1)
    assert [row["path"] for row in found["files"]] == [MODEL]
    assert [(row["path"], row["reason"]) for row in found["not_run"]] == [("elsewhere/model", "it runs on macOS alone")]
    assert "elsewhere/model: not run, it runs on macOS alone" in capsys.readouterr().err
    monkeypatch.setattr(bench_module, "why_not", lambda _: "it runs on macOS alone")
    with pytest.raises(UserError, match=r"none of the files runs here: .*it runs on macOS alone"):
        bench(bundle)


def test_a_file_that_does_not_start_leaves_the_others_measured(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_bundle(bundle)
    other = replace(opened.models[0], path="golden/0.png")
    monkeypatch.setattr(bench_module, "models_of", lambda _: (opened, [other, *opened.models]))
    found = bench(bundle, seconds=0.01, rounds=1)
    assert [row["path"] for row in found["files"]] == [MODEL]
    (row,) = found["not_run"]
    assert row["path"] == "golden/0.png"
    assert "not a model that onnxruntime opens" in row["reason"]
    assert "golden/0.png could not be run" in capsys.readouterr().err


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench_module.why_not("onnx") is None
    assert "in a browser" in str(bench_module.why_not("web"))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    assert bench_module.why_not("onnx") == 'onnxruntime is not installed; run: pip install "mobilenets[onnx]"'


def test_the_comparison_is_drawn(tmp_path: Path) -> None:
    figures = [(1, 8.0, 8.1, 12.5), (1, 4.0, 4.1, 4.5), (2, None, 3.1, None)]
    rows = [
        {"path": f"onnx/{ms}.onnx", "precision": "int8", "threads": threads, "median_ms": ms, "average_ms": mean}
        | {"p95_ms": high, "round_medians_ms": [ms, 1.01 * ms] if ms else []}
        for threads, ms, mean, high in figures
    ]
    found = {"bundle": "b", "machine": {"cpu": "a <processor>", "system": "Linux"}, "files": ranked(rows)}
    drawn = plot_bench(found, tmp_path / "bench.svg").read_text()
    ElementTree.fromstring(drawn)
    for words in (
        "onnx/8.0.onnx",
        "8.00 ms  ×2.00",
        "3.10 ms  ×1.00",
        "1 thread<",
        "2 threads<",
        "a &lt;processor&gt;",
    ):
        assert words in drawn
    with pytest.raises(UserError, match=r"a drawing is written as \.svg or \.png"):
        plot_bench(found, tmp_path / "bench.gif")


def test_int8_that_is_slower_than_its_float_twin_says_so_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    def measured(name: str, precision: str, ms: float, threads: int = 1) -> dict[str, Any]:
        return {
            "runtime": name,
            "precision": precision,
            "threads": threads,
            "path": f"{name}/{precision}",
            "median_ms": ms,
        } | {"ran": {"notes": []}}

    rows = [
        measured("onnx", "float32", 3.0),
        measured("onnx", "int8", 4.0),
        measured("onnx", "int8", 1.0, threads=2),  # no twin with two threads
        measured("litert", "float32", 3.0),
        measured("litert", "int8", 2.0),
        measured("executorch", "int8", 9.0),
    ]
    note_slow_int8(rows)
    noted = [row["path"] for row in rows if row["ran"]["notes"]]
    assert noted == ["onnx/int8"]
    (note,) = rows[1]["ran"]["notes"]
    assert note.startswith("slower than float32 in the same runtime, 4.00 against 3.00 ms: hard-swish")
    assert "onnx/int8, 1 threads: slower than float32" in " ".join(capsys.readouterr().err.split())
