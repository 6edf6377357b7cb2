"""`bench`: what it reports, from processes of their own. How long anything takes is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from faults import MODEL, replace_file

from mobilenets.deploy import bench as bench_module
from mobilenets.deploy.bench import bench
from mobilenets.errors import UserError


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "_cores", lambda: 2)


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
