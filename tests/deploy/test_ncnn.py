"""ncnn files: parity in both precisions, the same two files, and damage that is named before ncnn reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lively import assert_parity, lively, pictures, shortened

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Preprocessing
from mobilenets.deploy.export import export
from mobilenets.deploy.load import TorchSession, load
from mobilenets.deploy.predict import predict
from mobilenets.deploy.runtimes.ncnn import NCNN, NcnnSession, stored, write
from mobilenets.deploy.runtimes.ncnn_example import cpp_example, quoted
from mobilenets.deploy.verify import verify
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_the_files_compute_what_the_network_computes(name: str, tmp_path: Path) -> None:
    assert_parity(NCNN, shortened(create_spec(name, resolution=32, classes=5)), tmp_path, ["model.bin", "model.param"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_converts(name: str, tmp_path: Path) -> None:
    spec = shortened(create_spec(name, width=0.5, resolution=64, classes=5, padding="same"))
    assert_parity(NCNN, spec, tmp_path, ["model.bin", "model.param"])


@pytest.fixture(scope="module")
def both(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Run's Bundle for ncnn in both precisions."""
    folder = tmp_path_factory.mktemp("ncnn") / "bundle"
    export(run, folder, ["ncnn"], ["float32", "float16"])
    return folder


def test_float16_is_half_as_large_and_close(both: Path) -> None:
    single, half = both / "ncnn/float32/model.param", both / "ncnn/float16/model.param"
    counts = stored(single)
    assert list(counts) == ["float32"]
    assert stored(half) == {"float16": counts["float32"]}
    saved = single.with_suffix(".bin").stat().st_size - half.with_suffix(".bin").stat().st_size
    assert abs(saved - 2 * counts["float32"]) < 100  # each piece is filled up to four bytes
    images = pictures(3, 32)
    expected = NcnnSession(single, 1).run(images)
    error = np.abs(NcnnSession(half, 1).run(images) - expected).max()
    assert 0 < error < 1e-2 * np.abs(expected).max()  # 2e-3 where it computes in float32, more where in float16


def test_the_gate_passes_both(both: Path, colours: Path) -> None:
    found = verify(both, colours)
    assert found["ok"]
    assert [(row["precision"], row["stored"]) for row in found["files"]] == [("float32", 1.0), ("float16", 1.0)]


def test_the_same_network_gives_the_same_bytes(both: Path, run: Path, tmp_path: Path) -> None:
    write(Shipped(load(run).network), tmp_path, "float16", {})
    for name in ("model.param", "model.bin"):
        assert (tmp_path / name).read_bytes() == (both / "ncnn/float16" / name).read_bytes()


def test_a_float32_file_is_computed_in_float32(both: Path) -> None:
    images = pictures(3, 32)
    found = NcnnSession(both / "ncnn/float32/model.param", 1).run(images)
    expected = TorchSession(load(both).network).run(images)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_what_is_not_installed_is_one_line(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("pnnx", "ncnn"):
        monkeypatch.setitem(sys.modules, missing, None)
    shipped = Shipped(lively(create_spec("mobilenet_v1_025", resolution=32, classes=3)))
    with pytest.raises(UserError, match=r'pnnx is not installed; run: pip install "mobilenets\[ncnn\]"'):
        write(shipped, tmp_path, "float32", {})
    with pytest.raises(UserError, match=r'ncnn is not installed; run: pip install "mobilenets\[ncnn\]"'):
        NcnnSession(both / "ncnn/float32/model.param", None)


@pytest.fixture
def copy(both: Path, tmp_path: Path) -> Path:
    """The float16 .param with its .bin, to be damaged."""
    for name in ("model.param", "model.bin"):
        (tmp_path / name).write_bytes((both / "ncnn/float16" / name).read_bytes())
    return tmp_path / "model.param"


@pytest.mark.parametrize("left", [0, 1, 5, 1000, -4, -1])
def test_a_truncated_bin_is_named(copy: Path, left: int) -> None:
    data = copy.with_suffix(".bin").read_bytes()
    copy.with_suffix(".bin").write_bytes(data[:left])
    with pytest.raises(
        UserError, match=r"model\.bin: (ends within the numbers|the numbers of layer .* stored in no way)"
    ):
        NcnnSession(copy, None)


def test_a_longer_bin_is_named(copy: Path) -> None:
    data = copy.with_suffix(".bin").read_bytes()
    copy.with_suffix(".bin").write_bytes(data + bytes(4))
    with pytest.raises(UserError, match=rf"has {len(data) + 4} bytes where its \.param needs {len(data)}"):
        NcnnSession(copy, None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("7767517", "7767518", "not a .param of ncnn"),
        ("Input image", "Input", "line 3 is not a layer"),
        (" image ", " picture ", "takes 'picture', which no line before it gives"),
        ("Pooling ", "Plugin ", "is a Plugin, which no file of a bundle has"),
        ("logits", "scores", "takes image and gives scores; a bundle's file takes image and gives logits"),
    ],
)
def test_a_param_that_is_none_of_ours_is_named(copy: Path, old: str, new: str, words: str) -> None:
    copy.write_text(copy.read_text().replace(old, new))
    with pytest.raises(UserError, match=words):
        NcnnSession(copy, None)


def test_a_truncated_param_is_named(copy: Path) -> None:
    copy.write_text("\n".join(copy.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=r"model\.param: states .* truncated"):
        NcnnSession(copy, None)
    copy.unlink()
    with pytest.raises(UserError, match=r"model\.param: no such file"):
        NcnnSession(copy, None)


def test_threads_do_not_change_the_answer(both: Path) -> None:
    images = pictures(2, 32)
    one, two = (NcnnSession(both / "ncnn/float32/model.param", n).run(images) for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_example_needs_neither_torch_nor_ours(both: Path) -> None:
    alone = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['mobilenets'] = None; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    picture = str(both / "golden/0.png")
    command = [sys.executable, "-c", alone, str(both / "example_ncnn.py"), picture]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    (row,) = predict(both, [picture])
    best = [f"{picture}\t{answer['label']}\t{answer['score']:.4f}" for answer in row["predictions"]]
    assert ended.stdout.splitlines()[int(row["unknown"]) :] == best
    assert sum(bool(line) for line in (both / "example_ncnn.py").read_text().splitlines()) < 40


def test_the_program_in_cpp_has_this_bundles_numbers(both: Path) -> None:
    source = (both / "examples/ncnn/main.cpp").read_text()
    assert '"amber",\n    "blue",\n    "cyan",\n' in source
    assert "SIZE = 32;" in source
    decision = json.loads((both / "bundle.json").read_text())["decision"]
    assert f"TEMPERATURE = {decision['temperature']!r}f;" in source
    assert '"/ncnn/float32/model.param"' in source
    assert "use_fp16_arithmetic = false" in source
    assert source.count("{") == source.count("}")


def test_the_program_in_cpp_says_what_it_cannot_do() -> None:
    decided = {"temperature": 1.5, "threshold": None}
    bicubic = Preprocessing(resolution=32, interpolation="bicubic")
    source = cpp_example(bicubic, "a.param", "a.bin", labels=['a "b"\\'], decision=decided, exact=False)
    assert "has to have %d x %d pixels" in source
    assert "cv::resize" not in source
    assert '"a \\"b\\"\\\\"' in source
    assert "TEMPERATURE = 1.5f;" in source
    assert "THRESHOLD = 0.0f;" in source
    assert "use_fp16" not in source
    assert quoted("??/") == '"\\?\\?/"'
