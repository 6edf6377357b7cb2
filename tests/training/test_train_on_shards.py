"""Training on shards: local ones give what the folder gives, remote ones are streamed and give the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mobilenets import train
from mobilenets.data.pack import pack
from mobilenets.deploy.evaluate import evaluate
from mobilenets.errors import UserError
from owncache import own_cache
from shardserver import serving

SETTINGS: dict[str, Any] = {"model": "mobilenet_v1", "width": 0.25, "resolution": 32, "epochs": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of forty smooth pictures, the folder beside its shards."""
    root = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(f"{kind}/{i}.png" for kind in ("cat", "dog", "owl") for i in range(40)):
        noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "set" / name), cv2.resize(noise, (48, 40), interpolation=cv2.INTER_CUBIC))
    pack(root / "set", root / "packed", shard_mb=0.1)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is the test's own: the index of remote shards is kept there."""
    monkeypatch.setenv("MOBILENETS_CACHE", own_cache(tmp_path / "cache"))


def curve(run: dict[str, Any]) -> list[str]:
    """The losses and scores of every epoch, without the times."""
    lines = (Path(run["run"]) / "metrics.jsonl").read_text().splitlines()
    return [line.split('"images_per_second"')[0] for line in lines]


@pytest.mark.slow
def test_packed_pictures_train_as_their_folder_does(pictures: Path, tmp_path: Path) -> None:
    folder, packed = (train(pictures / name, out=tmp_path / name, **SETTINGS) for name in ("set", "packed"))
    assert curve(folder) == curve(packed)
    assert folder["report"] == packed["report"]


@pytest.mark.slow
def test_remote_shards_are_streamed_the_same_each_time_and_scored_by_name(pictures: Path, tmp_path: Path) -> None:
    with serving(pictures) as server:
        address = f"{server.address}/packed"
        first, second = (train(address, out=tmp_path / name, **SETTINGS) for name in ("a", "b"))
        assert curve(first) == curve(second)
        here, there = evaluate(first["run"], pictures / "packed"), evaluate(first["run"], address)
        assert here["top1"] == there["top1"] == first["report"]["top1"]
        assert here["confusion"] == there["confusion"]
        assert there["data"] == address
        taught = train(address, out=tmp_path / "taught", teacher=first["run"], **SETTINGS)
        assert np.isfinite(taught["best"]["val_loss"])
        with pytest.raises(UserError, match="teacher cache 2 goes with images that are read at random"):
            train(address, out=tmp_path / "cached", teacher=first["run"], teacher_cache=2, **SETTINGS)
        (pictures / "packed" / "train-000001.tar").rename(tmp_path / "aside.tar")
        try:
            with pytest.raises(UserError, match=r"train-000001\.tar: the server answers 404"):
                train(address, out=tmp_path / "c", **SETTINGS)
        finally:
            (tmp_path / "aside.tar").rename(pictures / "packed" / "train-000001.tar")


def test_a_stream_refuses_sampling_that_needs_any_order(pictures: Path, tmp_path: Path) -> None:
    with (
        serving(pictures / "packed") as server,
        pytest.raises(UserError, match=r"sampling.balance 1 needs images in any order") as caught,
    ):
        train(server.address, out=tmp_path / "run", set=["sampling.balance=1"], **SETTINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_parquet_files_are_streamed_the_same_each_time_and_from_anywhere(pictures: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "set").mkdir()
    for part, numbers in (("train", range(30)), ("validation", range(30, 35)), ("test", range(35, 40))):
        files = [(pictures / "set" / kind / f"{i}.png", kind) for i in numbers for kind in ("cat", "dog", "owl")]
        cells = [{"bytes": path.read_bytes(), "path": None} for path, _ in files]
        table = pyarrow.table({"image": cells, "label": [kind for _, kind in files]})
        parquet.write_table(table, tmp_path / "set" / f"{part}-00000-of-00001.parquet", row_group_size=10)
    here = train(f"{tmp_path}/set/*.parquet", out=tmp_path / "here", **SETTINGS)
    with serving(tmp_path / "set") as server:
        address = f"{server.address}/{{test,train,validation}}-00000-of-00001.parquet"  # as the pattern sorts them
        there = train(address, out=tmp_path / "there", **SETTINGS)
        assert curve(here) == curve(there)
        assert here["report"] == there["report"]
        assert evaluate(here["run"], address)["top1"] == here["report"]["top1"]
