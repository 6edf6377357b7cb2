"""Training in several processes: the same batches, steps and scores as one, and what becomes of a process that dies."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from same import metrics, same_run
from torch import nn
from torch.nn import functional as F
from torchrun import HERE, torchrun

from mobilenets.api import train
from mobilenets.data.augment import Augmentation, erase_, mix
from mobilenets.data.dataset import open_dataset
from mobilenets.data.loader import Images, Loader, scoring_batches
from mobilenets.errors import UserError
from mobilenets.nn.noise import dropout, part_of_batch, uniform
from mobilenets.tasks.classify import classification_report
from mobilenets.training.checkpoint import load_tensors
from mobilenets.training.loop import Normaliser, compute_logits
from mobilenets.training.parallel import Ranks, name_of_start
from mobilenets.training.run import EVALUATION, LAST, METRICS, RECIPE, open_run

SETTINGS: dict[str, Any] = {  # six steps an epoch
    "model": "mobilenet_v2",
    "width": 0.25,
    "resolution": 32,
    "epochs": 2,
    "batch_size": 16,
    "lr": 1e-4,
    "mixup": 0.4,
    "set": ["stochastic_depth=0.2", "augmentation.erase=0.5", "store=1.0", "averaging.rule=none"],
    "precision": "float32",
}


def options(data: Path, run: Path) -> list[str]:
    """SETTINGS as the command line has them."""
    words = [str(data), "--out", str(run)]
    for name, value in SETTINGS.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(each)]
    return words


@pytest.mark.parametrize(("batch", "world"), [(16, 2), (16, 3), (21, 2), (9, 4), (2, 1), (37, 5)])
def test_the_places_of_all_processes_are_the_batch(batch: int, world: int) -> None:
    places = [Ranks(rank, world).places(batch) for rank in range(world)]
    assert sorted(np.concatenate(places).tolist()) == list(range(batch))
    for own in places:
        assert np.array_equal(own + own[::-1], np.full(len(own), batch - 1))  # its mirror image is its own
        assert len(own) >= 2 * (batch // (2 * world))


def loader(data: Path, places: np.ndarray | None = None) -> Loader:
    dataset = open_dataset(data)
    samples = [sample for sample in dataset.samples if sample.split == "train"]
    augmentation = Augmentation(colour=0.3, rotate=20)
    return Loader(
        Images(dataset, samples, 40), batch_size=21, resolution=32, augmentation=augmentation, seed=3, places=places
    )


def test_what_processes_load_and_mix_is_what_one_does(shapes: Path) -> None:
    whole = list(loader(shapes).epoch(1))
    augmentation = Augmentation(mixup=0.5, cutmix=1.0)
    for rank in range(2):
        places = Ranks(rank, 2).places(21)
        parts = list(loader(shapes, places).epoch(1))
        assert len(parts) == len(whole)
        for number, (part, batch) in enumerate(zip(parts, whole)):
            assert torch.equal(part.images, batch.images[places])
            assert torch.equal(part.labels, batch.labels[places])
            assert torch.equal(part.indices, batch.indices[places])
            seen = []
            for images, own in ((part.images, places), (batch.images, None)):
                rng = np.random.default_rng(number)
                pixels = images.permute(0, 3, 1, 2).float()
                erased = erase_(pixels.clone(), 0.5, rng, own, 21 if own is not None else None)
                targets = F.one_hot((part if own is not None else batch).labels, 3).float()
                seen.append(mix(erased, targets, augmentation, rng))
            assert torch.equal(seen[0][0], seen[1][0][places])
            assert torch.equal(seen[0][1], seen[1][1][places])


def test_noise_is_that_of_the_whole_batch() -> None:
    x = torch.randn(12, 7)
    places = torch.tensor([2, 3, 8, 9])
    torch.manual_seed(1)
    whole, drawn = F.dropout(x, 0.4), torch.rand(12, 1)
    torch.manual_seed(1)
    with part_of_batch(12, places):
        assert torch.equal(dropout(x[places], 0.4, True), whole[places])
        assert torch.equal(uniform(x[places], 1), drawn[places])
        assert torch.equal(dropout(x[places], 0.4, False), x[places])
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.4, True), whole)


def test_scoring_is_divided_without_copies(shapes: Path) -> None:
    dataset = open_dataset(shapes)
    samples = dataset.samples[:70]
    from mobilenets.arch.registry import create_spec

    pre = create_spec("mobilenet_v1_025", resolution=32).preprocessing
    whole = list(scoring_batches(dataset, samples, pre, batch_size=16))
    parts = [list(scoring_batches(dataset, samples, pre, batch_size=16, part=(k, 3))) for k in range(3)]
    assert sum(len(part) for part in parts) == len(whole)
    for number, (images, labels) in enumerate(whole):
        own = parts[number % 3][number // 3]
        assert np.array_equal(own[0], images)
        assert np.array_equal(own[1], labels)


def test_processes_of_an_earlier_start_are_not_met() -> None:
    """The store is full of what those left that are dead by now."""
    store = dist.HashStore()
    for rank in (1, 2):
        store.set(f"ask/{rank}", f"old {rank}")
    names: dict[int, str] = {}

    def come(rank: int) -> None:
        names[rank] = name_of_start(store, rank, 3, patience=20)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in (0, 1, 2)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert len(set(names.values())) == 1
    assert len(names) == 3
    with pytest.raises(RuntimeError, match="process 1 of 2 did not come"):
        name_of_start(store, 0, 2, patience=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulate": 0}, "accumulate 0 is out of range"),
        ({"accumulate": 9}, "batch size 16 is too small for accumulate 9, two images at least in each piece"),
    ],
)
def test_bad_pieces_are_one_line(shapes: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(shapes, out=tmp_path / "run", **{**SETTINGS, **change})
    assert not (tmp_path / "run").exists()


def test_pieces_without_batch_norm_are_the_batch(shapes: Path, tmp_path: Path) -> None:
    """Weights whose statistics are kept: each image on its own, so that pieces change nothing but the rounding."""
    settings = {**SETTINGS, "epochs": 1, "lr": None}
    train(shapes, out=tmp_path / "weights", **settings)
    begin = {**SETTINGS, "model": None, "width": None, "epochs": 1, "norm_stats": "keep"}
    begin["weights"] = tmp_path / "weights"
    rows = {}
    for pieces in (1, 4):
        train(shapes, out=tmp_path / str(pieces), **begin, accumulate=pieces)
        rows[pieces] = metrics(tmp_path / str(pieces))[0]
    assert rows[4]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-5)
    assert rows[4]["val_loss"] == pytest.approx(rows[1]["val_loss"], rel=1e-4)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(shapes: Path, tmp_path: Path) -> None:
    """In float64: losses, weights, averages, statistics and projections; see `exact_steps` for the cases."""
    ended = torchrun(HERE / "exact_steps.py", shapes, tmp_path / "found.json")
    assert ended.returncode == 0, ended.stderr
    ranks = json.loads((tmp_path / "found.json").read_text())
    assert ranks[0] == ranks[1]
    for name, found in ranks[0].items():
        most = 1e-4 if "distillation" in name else 1e-8  # a teacher's losses are computed in float32
        assert found["losses"] < most, (name, found)
        assert found["weights"] < most, (name, found)
        assert found["moved"] > 1e-2, name


@pytest.fixture(scope="module")
def straight(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run of two processes that nothing interrupted."""
    run = tmp_path_factory.mktemp("straight") / "run"
    ended = torchrun(HERE / "elastic_train.py", *options(shapes, run))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("epoch 1/2  loss") == 1  # the writer alone speaks
    return run


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_nothing_changes(straight: Path, shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = torchrun(HERE / "elastic_train.py", "--die", *options(shapes, run), restarts=2)
    assert ended.returncode == 0, ended.stderr
    assert "going on after step 3 of epoch 1" in ended.stderr  # after SIGKILL
    assert "checkpoint after step 3 of epoch 2" in ended.stderr  # at SIGTERM
    assert "going on after step 3 of epoch 2" in ended.stderr
    same_run(straight, run)


@pytest.mark.slow
def test_a_worker_that_dies_for_good_is_one_line(shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = torchrun(HERE / "elastic_train.py", "--die", *options(shapes, run))
    assert ended.returncode == 1
    lost, told = "error: another process of this training ended or cannot be reached", "ended by SIGTERM; run the same"
    assert ended.stderr.count(lost) + ended.stderr.count(told) == 1, ended.stderr  # whichever the first learns first
    assert load_tensors(run / LAST)[1]["part"]["steps"] == 3


@pytest.mark.slow
def test_the_scores_are_those_of_one_process(straight: Path, shapes: Path) -> None:
    told = json.loads((straight / EVALUATION).read_text())
    run, dataset = open_run(straight), open_dataset(shapes)
    samples = [sample for sample in dataset.samples if sample.split == "val"]
    normalise = Normaliser(run.spec.preprocessing, torch.device("cpu"))
    batches = scoring_batches(dataset, samples, run.spec.preprocessing)
    logits, truth = compute_logits(run.network(), batches, normalise, torch.device("cpu"))
    assert run.decision is not None
    logits /= run.decision["temperature"]
    own = classification_report(logits, truth, [c.name for c in dataset.classes], [s.name for s in samples])
    assert {key: told[key] for key in own} == json.loads(json.dumps(own))


@pytest.mark.slow
def test_one_process_goes_on_with_the_run_of_two(straight: Path, shapes: Path, tmp_path: Path) -> None:
    """The number of processes is no argument of a Run: its finished result is printed whatever it is."""
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    before = (run / LAST).stat().st_mtime_ns
    assert train(shapes, out=run, **SETTINGS)["epochs"] == 2
    assert (run / LAST).stat().st_mtime_ns == before
    assert load_tensors(run / LAST)[1]["finished"]
    assert (run / METRICS).exists()
    assert json.loads((run / RECIPE).read_text())["arguments"]["batch_size"] == 16


@pytest.mark.slow
def test_an_error_in_one_process_is_one_line(shapes: Path, tmp_path: Path) -> None:
    """The second process finds a picture that is none; the first tells it, both end with 2, torchrun with 1."""
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    for path in sorted((data / "train" / "disc").iterdir())[5:]:
        path.write_bytes(path.read_bytes()[:60])
    settings = ["--model", "mobilenet_v1_025", "--resolution", 32, "--batch-size", 16, "--epochs", 1]
    ended = torchrun("-m", "mobilenets", "train", data, "--out", tmp_path / "run", *settings)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ended.stderr
    assert "`mobilenets data check` lists every such file" in lines[0]
    assert "exitcode  : 2" in ended.stderr
    assert ended.returncode == 1
    assert ended.stdout == ""


def test_batch_norm_in_one_process_is_torch_s_own() -> None:
    from mobilenets.nn.sync_norm import SyncBatchNorm2d, synchronise_

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    names = list(network.state_dict())
    parameters = list(network.parameters())
    x = torch.randn(5, 3, 4, 4)
    expected = network(x)
    network.eval()
    synchronise_(network)
    assert [type(layer) for layer in (network[1], network[2][0])] == [SyncBatchNorm2d] * 2
    assert list(network.state_dict()) == names
    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))
    assert not network[1].training
    assert torch.equal(network.train()(x), expected)  # no group: as BatchNorm2d
