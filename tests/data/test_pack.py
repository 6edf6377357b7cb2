"""Packing: the same samples, labels and parts come back, equal bytes every time, and a kill costs one shard."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mobilenets.data.dataset import open_dataset
from mobilenets.data.decode import decode_image
from mobilenets.data.pack import pack
from mobilenets.data.roles import roles
from mobilenets.data.shardindex import read_index
from mobilenets.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, write_images: Callable[..., Path]) -> Path:
    """Three classes of twenty images; of one class there are near-duplicates."""
    root = write_images(tmp_path / "set", [f"{kind}/{i:02} ä.png" for kind in ("cat", "dog", "owl") for i in range(20)])
    for i in range(6):
        picture = cv2.imdecode(np.fromfile(root / "cat" / f"{i:02} ä.png", np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(root / "cat" / f"again{i}.jpg"), picture[:, ::-1])
    return root


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_same_samples_labels_and_parts(folder: Path, tmp_path: Path) -> None:
    report = pack(folder, tmp_path / "packed", shard_mb=0.05)
    before, after = open_dataset(folder), open_dataset(tmp_path / "packed")
    assert after.classes == before.classes
    assert [(s.name, s.label) for s in after.samples] == [(s.name, s.label) for s in before.samples]
    assert [after.read(s) for s in after.samples] == [before.read(s) for s in before.samples]
    then, now = roles(before), roles(after)
    for part in ("train", "selection", "report"):
        assert [s.name for s in getattr(now, part)] == [s.name for s in getattr(then, part)]
    assert report["splits"] == {"train": len(then.train), "val": len(then.selection), "test": len(then.report)}
    assert len(report["shards"]) == report["written"] > 3


def test_splits_and_stated_groups_are_carried(folder: Path, tmp_path: Path) -> None:
    rows = [f"{kind}/{i:02} ä.png,{split},{kind}{i // 2}" for kind in ("cat", "dog") for i, split in
            enumerate(["train"] * 12 + ["val"] * 4 + ["test"] * 4)]  # fmt: skip
    (folder / "labels.csv").write_text("\n".join(["file,split,group", *rows]) + "\n")
    for name in ("owl",):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()
    for path in (folder / "cat").glob("again*"):
        path.unlink()
    pack(folder, tmp_path / "packed")
    before, after = open_dataset(folder), open_dataset(tmp_path / "packed")
    assert [s.split for s in after.samples] == [s.split for s in before.samples]
    pairs = {(b.group, a.group) for a, b in zip(after.samples, before.samples)}
    assert len(pairs) == len({b for b, _ in pairs}) == len({a for _, a in pairs}) == 20


def test_what_others_read_is_plain_webdataset(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "packed", shard_mb=0.05)
    names = [label.name for label in open_dataset(folder).classes]
    found = {}
    for path in (tmp_path / "packed").glob("*.tar"):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}
            for image, label in zip(members[::2], members[1::2], strict=True):
                assert image.name.split(".")[0] == label.name.split(".")[0]
                text = archive.extractfile(label).read()  # type: ignore[union-attr]
                found[archive.extractfile(image).read()] = names[int(text)]  # type: ignore[union-attr]
    assert found == {path.read_bytes(): path.parent.name for path in folder.rglob("*.*")}


def test_every_stretch_holds_several_classes(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "packed")
    index = read_index(tmp_path / "packed")
    train = index.rows[index.rows["split"] == 1]
    assert all(len(set(train["label"][i : i + 12].tolist())) > 1 for i in range(len(train) - 12))


def test_equal_data_gives_equal_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(folder, tmp_path / name, shard_mb=0.05, side=24)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    pack(tmp_path / "a", tmp_path / "c", shard_mb=0.05)  # shards of shards, the same parts and order
    assert [s.name for s in open_dataset(tmp_path / "c").samples] == [s.name for s in open_dataset(folder).samples]


def test_side_makes_larger_images_smaller_and_copies_the_others(
    folder: Path, tmp_path: Path, png_of: Callable[..., bytes]
) -> None:
    (folder / "owl" / "large.png").write_bytes(png_of(77, side=200))
    pack(folder, tmp_path / "packed", side=60)
    dataset = open_dataset(tmp_path / "packed")
    for sample in dataset.samples:
        if sample.name == "owl/large.png":
            small = decode_image(dataset.read(sample)).astype(float)
            whole = cv2.resize(decode_image(png_of(77, side=200)), (60, 60), interpolation=cv2.INTER_AREA)
            assert small.shape == (60, 60, 3)
            assert np.abs(small - whole).mean() < 3
        else:
            assert dataset.read(sample) == (folder / sample.name).read_bytes()


def test_the_same_call_again_writes_nothing_and_a_lost_shard_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    first = pack(folder, out, shard_mb=0.05)
    before = contents(out)
    assert pack(folder, out, shard_mb=0.05) == first | {"written": 0}
    lost = out / first["shards"][1]["file"]
    lost.unlink()
    damaged = out / first["shards"][2]["file"]
    damaged.write_bytes(damaged.read_bytes()[:700])
    assert pack(folder, out, shard_mb=0.05)["written"] == 2
    assert contents(out) == before


def test_other_data_and_strange_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    pack(folder, out)
    for more in ({"side": 24}, {"shard_mb": 1}):
        with pytest.raises(UserError, match="was packed from other data or with other settings"):
            pack(folder, out, **more)  # type: ignore[arg-type]
    (folder / "cat" / "again0.jpg").unlink()
    with pytest.raises(UserError, match="other data"):
        pack(folder, out)
    with pytest.raises(UserError, match="is not empty and holds no packed data"):
        pack(folder, folder / "dog")
    assert len(list((folder / "dog").iterdir())) == 20
    with pytest.raises(UserError, match="is a file"):
        pack(folder, folder / "cat" / "again1.jpg")


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"shard_mb": 0}, "shard size 0 MB"), ({"shard_mb": float("nan")}, "shard size nan"), ({"side": 4}, "side 4 is")],
)
def test_values_out_of_range(folder: Path, tmp_path: Path, settings: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        pack(folder, tmp_path / "packed", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "packed").exists()


def test_a_picture_that_cannot_be_made_smaller_is_named_and_nothing_looks_finished(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "dog" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"dog/bad\.png: not an image"):
        pack(folder, tmp_path / "packed", side=24)
    assert not list((tmp_path / "packed").glob("*.part")) + list((tmp_path / "packed").glob("shards.json"))
    (folder / "dog" / "bad.png").write_bytes(b"")  # another size: no longer the data that was begun
    for path in (tmp_path / "packed", tmp_path / "packed" / "shards.json"):
        with pytest.raises(UserError, match="was not packed to its end"):
            open_dataset(path)
    with pytest.raises(UserError, match="packed from other data"):
        pack(folder, tmp_path / "packed", side=24)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kill_9_and_again(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "whole", shard_mb=0.03)
    out = tmp_path / "packed"
    command = [sys.executable, "-m", "mobilenets", "data", "pack", str(folder), "--out", str(out), "--shard-mb", "0.03"]
    slowly = "import time, mobilenets.data.pack as p, sys; w = p._write_shard\n"
    slowly += "def slow(*a):\n    time.sleep(0.1)\n    return w(*a)\n"
    slowly += "p._write_shard = slow\nfrom mobilenets.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", slowly, *command[3:]])
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.tar"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(out.glob("*.tar")))
    assert finished >= 3
    assert not (out / "shards.json").exists()
    (out / ".train-000003.tar.kill.part").write_bytes(b"what a kill leaves")
    report = pack(folder, out, shard_mb=0.03)
    assert report["written"] == len(report["shards"]) - finished
    assert contents(out) == contents(tmp_path / "whole")
