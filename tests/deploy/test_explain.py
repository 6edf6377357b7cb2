"""Heat maps find what decides, on every runtime, say how true they are, and are the same twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from spotted import CLASSES, SIDE, SPOT, spotted, write_spotted

from mobilenets.data.preprocess import resize_and_crop
from mobilenets.deploy.explain import explain, overlay
from mobilenets.deploy.export import export
from mobilenets.deploy.heat.asking import Asking
from mobilenets.deploy.heat.blackbox import occlusion, occlusion_runs, rise
from mobilenets.deploy.heat.faithful import faithfulness, hottest
from mobilenets.deploy.heat.gradcam import gradcam
from mobilenets.deploy.load import load
from mobilenets.errors import UserError

BLUE = 1


@pytest.fixture(scope="module")
def spotted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Run of V1 at 64 pixels that tells red squares, blue ones and none apart."""
    from mobilenets.api import train

    root = write_spotted(tmp_path_factory.mktemp("spotted") / "data")
    out = root.parent / "run"
    train(
        root,
        model="mobilenet_v1_shallow",
        width=0.25,
        resolution=64,
        epochs=8,
        batch_size=16,
        lr=0.004,
        set=["augmentation.scale=0.9,1", "augmentation.grey=0"],  # the square stays in the picture, and its colour
        out=out,
        threads=1,
    )
    return out


@pytest.fixture(scope="module")
def spotted_bundle(spotted_run: Path) -> Path:
    export(spotted_run, spotted_run.parent / "bundle")
    return spotted_run.parent / "bundle"


def asking(reference: Path, label: int, seed: int) -> tuple[Asking, np.ndarray]:
    """The picture as the network sees it, put to the network, and where its square is: bool (R, R)."""
    loaded = load(reference)
    picture, (top, left) = spotted(label, seed)
    place = np.zeros((SIDE, SIDE, 3), np.uint8)
    place[top : top + SPOT, left : left + SPOT] = 255
    seen, where = (resize_and_crop(each, loaded.preprocessing) for each in (picture, place))
    fill = np.round(loaded.preprocessing.mean).astype(np.uint8)
    return Asking(seen, loaded.names.index(CLASSES[label]), loaded.logits, 1.0, fill, lambda _: None), where[
        ..., 0
    ] > 127


def contrast(heat: np.ndarray, where: np.ndarray) -> float:
    """Mean heat on the square over mean heat elsewhere, of what speaks for the class."""
    kept = np.maximum(heat, 0)
    return float(kept[where].mean() / max(kept[~where].mean(), 1e-9))


def near(where: np.ndarray, pixels: int) -> np.ndarray:
    """The square and so many pixels around it."""
    wide: np.ndarray = cv2.dilate(where.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8))
    return wide > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "occlusion", "rise", "occlusion in onnxruntime"])
def test_the_map_finds_what_decides(spotted_run: Path, spotted_bundle: Path, method: str) -> None:
    """Of blue: to some networks red is what is neither blue nor plain, and then no place shows it."""
    asked, where = asking(spotted_bundle if "onnx" in method else spotted_run, BLUE, 20_001)
    if method == "gradcam":
        heat = gradcam(load(spotted_run).network, asked.image, asked.label)
    elif method == "rise":
        heat = rise(asked, 600, seed=0)
        assert asked.runs == 600
    else:
        heat = occlusion(asked)
        assert asked.runs == occlusion_runs(SIDE)
    assert contrast(heat, where) > 4
    assert near(where, 4).flat[int(heat.argmax())]
    truth = faithfulness(asked, heat, seed=0)
    assert truth["insertion"] > truth["random_insertion"]
    assert truth["deletion"] < truth["random_deletion"]


@pytest.mark.slow
def test_another_class_has_another_map(spotted_run: Path) -> None:
    asked, where = asking(spotted_run, BLUE, 20_001)
    loaded = load(spotted_run)
    network = loaded.network
    own, other = (gradcam(network, asked.image, loaded.names.index(name)) for name in ("blue", "red"))
    assert own[where].mean() > 4 * other[where].mean()


def brightness(images: np.ndarray) -> np.ndarray:
    """Logits (N, 2) of a network that looks at the upper left quarter alone."""
    half = images.shape[1] // 2
    light = images[:, :half, :half].mean(axis=(1, 2, 3)) / 255
    return np.stack([6 * light, 3 - 6 * light], axis=1).astype(np.float32)


def quarter(temperature: float = 1.0) -> Asking:
    image = np.full((32, 32, 3), 250, np.uint8)
    return Asking(image, 0, brightness, temperature, np.zeros(3, np.uint8), lambda _: None)


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_black_box_maps_of_a_network_that_looks_at_one_quarter(method: str) -> None:
    heat = occlusion(quarter()) if method == "occlusion" else rise(quarter(), 800, seed=3)
    inside = np.zeros((32, 32), bool)
    inside[:16, :16] = True
    assert contrast(heat, inside) > 3
    assert heat[4:12, 4:12].min() > heat[20:, 20:].max()


def test_faithfulness_of_the_true_map_the_opposite_one_and_chance() -> None:
    true = np.zeros((32, 32))
    true[:16, :16] = 1
    good, bad = faithfulness(quarter(), true, 0), faithfulness(quarter(), -true, 0)
    assert good["deletion"] < good["random_deletion"] < bad["deletion"]
    assert good["insertion"] > good["random_insertion"] > bad["insertion"]
    whole, none = 1 / (1 + np.exp(3 - 12 * 250 / 255)), 1 / (1 + np.exp(3))
    assert bad["without_hottest_tenth"] == pytest.approx(whole, abs=1e-6)
    assert bad["hottest_tenth"] == pytest.approx(none, abs=1e-6)
    assert hottest(true, 0.25).sum() == 256
    assert hottest(true, 0.25)[:16, :16].all()


def test_a_seed_gives_the_same_map_and_another_another() -> None:
    one, same, other = (rise(quarter(), 40, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_scores_are_of_the_scaled_logits() -> None:
    mask = np.ones((1, 32, 32), np.float32)
    plain, warm = quarter(), quarter(4.0)
    assert warm.log_odds(mask)[0] == pytest.approx(plain.log_odds(mask)[0] / 4)
    assert plain.log_odds(mask)[0] == pytest.approx(np.log(plain.scores(mask) / (1 - plain.scores(mask)))[0], rel=1e-6)


@pytest.fixture
def picture(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(next((colours / "val" / "blue").iterdir()).read_bytes())
    return Path("photo.png")


def test_a_picture_is_written_and_the_answer_says_all(exported: Path, picture: Path) -> None:
    before = picture.read_bytes()
    found = explain(exported, picture)
    assert picture.read_bytes() == before
    assert found["method"] == "occlusion"
    assert found["runs"] == occlusion_runs(32)
    assert found["class"] == found["predictions"][0]["label"]
    assert found["picture"] == "photo.explained.png"
    drawn = cv2.imread(found["picture"])
    assert drawn is not None
    assert drawn.shape[1] > 1000
    assert np.array(found["heat"]).shape == (16, 16)
    assert np.array(found["heat"]).max() <= 1
    json.dumps(found, allow_nan=False)
    again = explain(exported, picture, "again.svg", seed=0)
    assert again["heat"] == found["heat"]
    assert again["faithfulness"] == found["faithfulness"]
    text = Path("again.svg").read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "what “blue” rests on" in text


def test_torch_knows_its_gradients_and_a_file_does_not(run: Path, exported: Path, picture: Path) -> None:
    found = explain(run, picture, "a.svg", label="amber")
    assert (found["method"], found["runs"], found["class"]) == ("gradcam", 1, "amber")
    assert explain(run, picture, "b.svg", runs=20)["method"] == "rise"
    with pytest.raises(UserError, match=r"gradcam needs gradients, and .* allowed: rise, occlusion"):
        explain(exported, picture, method="gradcam")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label": "bleu"}, "unknown class 'bleu'; did you mean blue"),
        ({"label": "x"}, "unknown class 'x'; allowed: amber, blue, cyan"),
        ({"method": "magic"}, "unknown method 'magic'; allowed: gradcam, rise, occlusion"),
        ({"runs": 0}, "runs 0 is out of range"),
        ({"runs": 5, "method": "occlusion"}, "runs 5 goes with method rise"),
        ({"out": "photo.png"}, "is the picture to explain; choose another --out"),
        ({"out": "map.bmp"}, "is written as .svg or .png"),
    ],
)
def test_what_does_not_fit_is_said(run: Path, picture: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        explain(run, picture, **settings)
    assert [path.name for path in Path().iterdir()] == ["photo.png"]


def test_a_picture_that_is_none(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.jpg: "):
        explain(run, tmp_path / "text.jpg")
    with pytest.raises(UserError, match="one picture is explained at a time"):
        explain(run, tmp_path)
    with pytest.raises(UserError, match="no such file"):
        explain(run, tmp_path / "none.jpg")


def test_heat_lights_the_photo() -> None:
    photo = np.full((40, 40, 3), 128, np.uint8)
    heat = np.zeros((10, 10))
    heat[:5] = 1
    lit = overlay(photo, heat)
    assert lit[:10].mean() > 2 * lit[-10:].mean()
    assert lit.shape == photo.shape
