"""Which files `export` is to write, and the libraries that it misses, told before any work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mobilenets import extras
from mobilenets.deploy.export import export
from mobilenets.deploy.plan import plan_files
from mobilenets.deploy.runtimes import RUNTIMES, runtime
from mobilenets.errors import UserError


def planned(*names: str, precisions: tuple[str, ...] = (), beside: tuple[str, ...] = ()) -> list[str]:
    plan = plan_files([runtime(name) for name in names], precisions, beside)
    return [f"{each.name} {precision}" for each, precision in plan]


def test_int8_beside_leaves_each_runtime_its_own_first_precision(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned("onnx", "coreml", "ncnn", beside=("int8",))
    assert found == ["onnx float32", "onnx int8", "coreml float16", "coreml int8", "ncnn float32"]
    assert "int8: not a precision of ncnn" in capsys.readouterr().err


def test_precisions_that_are_named_are_the_whole_of_it() -> None:
    assert planned("onnx", "openvino", precisions=("int8",)) == ["onnx int8", "openvino int8"]
    assert planned("onnx", precisions=("int8",), beside=("int8",)) == ["onnx int8"]
    assert planned("onnx", "ncnn", precisions=("float16",), beside=("int8",)) == [
        "onnx float16",
        "onnx int8",
        "ncnn float16",
    ]
    with pytest.raises(
        UserError, match=r"int8 is a precision of none of the runtimes: ncnn has float32, float16; torch has float32"
    ):
        planned("ncnn", "torch", beside=("int8",))


def test_all_that_is_missing_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"ncnn", "pnnx", "litert_torch", "torchao"}
    there = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in gone else there(name))
    with pytest.raises(UserError) as caught:
        export("mobilenet_v2", tmp_path / "bundle", ["onnx", "ncnn", "litert"], int8=True)
    assert str(caught.value) == (
        'pnnx is not installed; run: pip install "mobilenets[ncnn]"; '
        "litert_torch is not installed; run: pip install litert-torch; then: pip install --upgrade typing_extensions; "
        'torchao is not installed; run: pip install "mobilenets[int8]"'
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_modules_that_a_runtime_names_are_all_there(name: str) -> None:
    """A misspelt one would be told to users as missing."""
    pytest.importorskip("litert_torch")  # which no extra installs
    each = runtime(name)
    assert extras.absent(each.extra, *each.writes_with, *each.runs_with) is None


def test_a_module_that_was_taken_away_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pnnx", None)
    assert extras.absent("ncnn", "pnnx") == 'pnnx is not installed; run: pip install "mobilenets[ncnn]"'
