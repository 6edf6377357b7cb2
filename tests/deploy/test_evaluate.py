"""Scores: the classes that meet, the images that are scored, and the figures against a plain count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mobilenets.data.records import Sample
from mobilenets.deploy.evaluate import evaluate
from mobilenets.deploy.load import load
from mobilenets.deploy.score import spread
from mobilenets.errors import UserError


def test_a_limit_takes_every_class_alike() -> None:
    samples = [Sample(f"{label}/{index:03d}", label) for label, count in ((0, 90), (1, 10)) for index in range(count)]
    chosen = spread(samples, 20)
    assert len(set(chosen)) == 20
    assert [sum(s.label == label for s in chosen) for label in (0, 1)] == [18, 2]
    assert spread(samples, None) == tuple(samples)
    assert spread(samples, 1000) == tuple(samples)


def test_the_figures_are_those_of_a_plain_count(run: Path, colours: Path) -> None:
    from mobilenets.data.decode import decode_image
    from mobilenets.data.preprocess import resize_and_crop

    found = evaluate(run, colours)
    loaded = load(run)
    right = 0
    for label, name in enumerate(("amber", "blue", "cyan")):
        for path in sorted((colours / "val" / name).iterdir()):
            image = resize_and_crop(decode_image(path.read_bytes()), loaded.preprocessing)
            right += int(loaded.logits(image[None])[0].argmax()) == label
    assert found["images"] == 120
    assert found["split"] == "val"
    assert found["top1"] == right / 120
    assert found["skipped"] == []
    assert found["labels"] == ["amber", "blue", "cyan"]
    json.dumps(found, allow_nan=False)


def test_training_and_evaluate_agree(run: Path, exported: Path, colours: Path) -> None:
    trained = json.loads((run / "evaluation.json").read_text())
    for reference in (run, exported):
        found = evaluate(reference, colours)
        assert {key: found[key] for key in ("top1", "confusion", "images", "split")} == {
            key: trained[key] for key in ("top1", "confusion", "images", "split")
        }
        assert found["loss"] == pytest.approx(trained["loss"], abs=1e-4)


def test_the_split_is_the_users_choice(run: Path, colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(run, colours, "train")["images"] == 90
    assert "was trained on these images" in capsys.readouterr().err
    assert evaluate(run, colours, "all")["images"] == 210
    assert "was trained on part of these images" in capsys.readouterr().err
    with pytest.raises(UserError, match="no split 'test'; allowed: train, val, all"):
        evaluate(run, colours, "test")


def test_unsplit_images_are_all_scored_and_that_is_said(
    run: Path, colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluate(run, colours / "val")
    assert (found["split"], found["images"]) == ("all", 120)
    assert "all 120 images are scored" in capsys.readouterr().err


def test_the_folder_it_was_trained_on_is_never_scored_silently(
    run: Path, colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(run, colours / "train")
    assert "training images may be scored" in capsys.readouterr().err


def test_of_unsplit_training_data_the_held_out_part_is_scored(
    run: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobilenets.data.dataset import open_dataset
    from mobilenets.data.fingerprint import fingerprint
    from mobilenets.data.roles import roles

    dataset = open_dataset(colours / "train")
    parts = roles(dataset, seed=0)
    copy = shutil.copytree(run, tmp_path / "run")
    recipe = json.loads((copy / "recipe.json").read_text())
    counts = {"train": len(parts.train), "selection": len(parts.selection), "report": len(parts.report)}
    recipe["data"] |= {"fingerprint": fingerprint(dataset), "images": counts, "form": dataset.form}
    (copy / "recipe.json").write_text(json.dumps(recipe))
    found = evaluate(copy, colours / "train")
    assert (found["split"], found["images"]) == (parts.report_name, len(parts.report))
    assert found["images"] < len(dataset.samples)
    assert "held-out images are scored" in capsys.readouterr().err
    assert evaluate(copy, colours / "train", "train")["images"] == len(parts.train)


def test_broken_images_are_counted_not_fatal(
    run: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(colours / "val", tmp_path / "data")
    (data / "amber" / "000.png").write_bytes(b"not a picture")
    (data / "blue" / "001.png").write_bytes((data / "blue" / "001.png").read_bytes()[:200])
    found = evaluate(run, data)
    assert found["images"] == 118
    assert [row["file"] for row in found["skipped"]] == ["amber/000.png", "blue/001.png"]
    assert "2 of 120 images could not be read" in capsys.readouterr().err
    for path in data.rglob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not one of 120 images could be read; the first: amber"):
        evaluate(run, data)


def test_other_classes_are_refused(run: Path, tmp_path: Path) -> None:
    for name in ("amber", "violet"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "0.png"), np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(UserError, match="'violet' is none of the classes of"):
        evaluate(run, tmp_path)
