"""From a request to a recipe: names, files, settings by name, and the learning rate that follows the batch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobilenets.errors import UserError
from mobilenets.training.choose import Changes, choose_recipe, settled, with_settings
from mobilenets.training.recipe import Recipe
from mobilenets.training.recipes import RECIPES
from mobilenets.training.recipes.own import default
from mobilenets.training.settings import flat


def chosen(*words: str, recipe: str = "default", weights: bool = False, **options: Any) -> Recipe:
    return choose_recipe(recipe, 96, with_settings(Changes(**options), words), weights=weights)


def test_settings_by_name() -> None:
    recipe = chosen(
        "schedule.name=step", "schedule.every=3", "optimiser.betas=0.9,0.95", "loss.class_weights=effective",
        "sampling.balance=0.5", "augmentation.flip=no", "optimiser.lr=0.1", "averaging.rule=none",
    )  # fmt: skip
    assert (recipe.schedule.name, recipe.schedule.every) == ("step", 3.0)
    assert recipe.optimiser.betas == (0.9, 0.95)
    assert (recipe.loss.class_weights, recipe.sampling.balance) == ("effective", 0.5)
    assert not recipe.augmentation.flip
    assert recipe.optimiser.lr == 0.1
    assert recipe.averaging.rule == "none"
    assert recipe.label_smoothing == default().label_smoothing
    assert chosen() == chosen(recipe="small_data") == default()


def test_a_setting_with_an_option_of_its_own_fills_that() -> None:
    changes = with_settings(Changes(), ["optimiser.lr=0.1", "augmentation.flip=no", "loss.name=bce"])
    assert (changes.lr, changes.flip, changes.set) == (0.1, False, ("loss.name=bce",))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimiser.l=1"], "unknown setting 'optimiser.l'; did you mean optimiser.l"),
        (["optimizer.lr=1"], "unknown setting 'optimizer.lr'; did you mean optimiser.lr"),
        (["gamma=1"], "unknown setting 'gamma'; did you mean loss.gamma"),
        (["optimiser=sgd"], "optimiser is a group of settings; set one of optimiser.name"),
        (["loss.name=focl"], "unknown loss.name 'focl'; did you mean focal"),
        (["loss.gamma=high"], "loss.gamma: expected a number, got 'high'"),
        (["loss.gamma=nan"], "loss.gamma: expected a number"),
        (["loss.gamma=-1"], "loss gamma -1 is out of range: allowed is at least 0"),
        (["sampling.repeats=1.5"], "sampling.repeats: expected a whole number, got '1.5'"),
        (["augmentation.flip=maybe"], "augmentation.flip: expected yes or no"),
        (["optimiser.betas=0.9"], "optimiser.betas: expected 2 numbers"),
        (["loss.name"], "write NAME=VALUE"),
        (["loss.gamma=1", "loss.gamma=2"], "loss.gamma is given twice"),
        (["tuning.head_lr=2"], "unknown setting 'tuning.head_lr': tuning is off here"),
        (["sampling.repeats=3"], "batch size 64 is no multiple of sampling.repeats 3"),
        (["augmentation.autoaugment=imagenet", "augmentation.randaugment=1"], "contradict each other"),
    ],
)
def test_what_does_not_fit_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen(*words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_and_its_setting_contradict() -> None:
    with pytest.raises(UserError, match=r"optimiser\.lr is given twice, the second time as '0.2'"):
        chosen("optimiser.lr=0.2", lr=0.1)


def test_tuning_goes_with_weights() -> None:
    assert chosen("tuning.head_lr=2", weights=True).tuning.head_lr == 2  # type: ignore[union-attr]


def test_a_policy_takes_randaugments_place() -> None:
    recipe = chosen("augmentation.autoaugment=cifar10", recipe="strong")
    assert (recipe.augmentation.autoaugment, recipe.augmentation.randaugment) == ("cifar10", 0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_through_json_and_a_file(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]()
    plain = json.loads(json.dumps(recipe.to_json()))
    assert Recipe.from_json(plain) == recipe
    file = tmp_path / "mine.json"
    weights = recipe.tuning is not None
    for content in (plain, {"task": "classify", "recipe": plain}):
        file.write_text(json.dumps(content))
        assert choose_recipe(str(file), 96, Changes(), weights=weights) == recipe
    for setting, value, _ in flat(recipe):  # and every setting, written as a word, is read back
        word = ",".join(map(str, value)) if isinstance(value, tuple) else "none" if value is None else str(value)
        if setting not in ("name", "tuning"):
            assert choose_recipe(name, 96, with_settings(Changes(), [f"{setting}={word}"]), weights=weights)


def test_a_runs_recipe_from_before_other_averages(tmp_path: Path) -> None:
    plain = {**default().to_json(), "ema_epochs": 2.0}
    for key in ("averaging", "sampling", "loss", "stochastic_depth"):
        del plain[key]
    assert Recipe.from_json(plain).averaging.epochs == 2.0
    assert Recipe.from_json({**plain, "ema_epochs": 0}).averaging.rule == "none"
    file = tmp_path / "old.json"
    file.write_text(json.dumps({**plain, "epoch": 3}))
    with pytest.raises(UserError, match=r"old.json: unknown setting 'epoch'; did you mean epochs"):
        chosen(recipe=str(file))
    file.write_text("[]")
    with pytest.raises(UserError, match=r"old.json: no recipe"):
        chosen(recipe=str(file))
    with pytest.raises(UserError, match=r"gone.json: no such file"):
        chosen(recipe=str(tmp_path / "gone.json"))


@pytest.mark.parametrize(
    ("recipe", "options", "images", "lr"),
    [
        ("default", {}, 1000, 2e-3),
        ("default", {"batch_size": 16}, 1000, 1e-3),  # the square root for AdamW
        ("default", {"batch_size": 16, "lr": 2e-3}, 1000, 2e-3),
        ("sgd", {"batch_size": 16}, 1000, 0.025),
        ("v2_paper", {"batch_size": 768}, 10**6, 0.36),  # the authors' own command for 8 GPUs
        ("v3_paper", {"batch_size": 1024}, 10**6, 0.025),
        ("v3_paper", {}, 512, 0.0125),  # no batch has more images than there are
        ("default", {"optimizer": "rmsprop_tf", "batch_size": 32}, 1000, 2e-3),
    ],
)
def test_the_learning_rate_follows_the_batch(recipe: str, options: dict[str, Any], images: int, lr: float) -> None:
    settings, note = settled(chosen(recipe=recipe, **options), images)
    assert settings.optimiser.lr == pytest.approx(lr)
    assert settings.batch_size == min(options.get("batch_size", RECIPES[recipe]().batch_size), images)
    assert (note is None) == (lr in (2e-3,) and "optimizer" not in options)
    assert settled(settings, images) == (settings, None)  # done once


def test_scaling_can_be_left() -> None:
    settings, note = settled(chosen("optimiser.scaling=none", batch_size=8), 1000)
    assert (settings.optimiser.lr, note) == (2e-3, None)
    settings, _ = settled(chosen("optimiser.scaling=linear", batch_size=8), 1000)
    assert settings.optimiser.lr == pytest.approx(2e-3 / 8)


def test_a_small_set_keeps_whole_repeats() -> None:
    recipe = replace(chosen("sampling.repeats=4"), epochs=1)
    settings, _ = settled(recipe, 30)
    assert settings.batch_size == 28
