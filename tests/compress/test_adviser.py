"""The adviser: what it tries and in which order, what it keeps, and when it stops."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from roundable import pictures, shipped

from mobilenets.compress.adviser import CORRECTIONS, Advice, Adviser, Bounds, Repair, Tried
from mobilenets.compress.ranges import METHODS
from mobilenets.compress.sensitivity import sqnr_db
from mobilenets.compress.simulation import Simulation
from mobilenets.deploy.wrap import Shipped

CALIBRATION, SELECTION = pictures(40), pictures(120, seed=3)
ANYTHING = Bounds(drop=1.0, agreement=0.0, aim=0.0, sqnr_db=-100.0)
NOTHING = Bounds(drop=0.0, agreement=1.01, aim=1.01)


def tiny() -> Shipped:
    return shipped("mobilenet_v1_025", blocks=2)


def exact_answers(module: Shipped) -> np.ndarray:
    with torch.no_grad():
        answers: np.ndarray = module(torch.from_numpy(SELECTION)).numpy().argmax(1)
    return answers


def timeless(tried: list[Tried]) -> list[Tried]:
    return [replace(each, seconds=0.0) for each in tried]


@pytest.fixture(scope="module")
def exhausted() -> tuple[Shipped, Advice]:
    """A network whose int8 form loses visibly, and the advice after all there is was tried."""
    module = shipped("mobilenet_v1_025", blocks=6)
    return module, Adviser(module, CALIBRATION, SELECTION, None, bounds=NOTHING).advise()


# When it stops ----------------------------------------------------------------------------------------------------


def test_a_plain_network_within_the_bounds_is_tried_and_nothing_else() -> None:
    module = tiny()
    advice = Adviser(module, CALIBRATION, SELECTION, exact_answers(module), bounds=ANYTHING).advise()
    assert [each.repair for each in advice.tried] == [Repair()]
    assert advice.ok
    assert advice.best is advice.tried[0]
    assert advice.top1_float == 1
    assert advice.calibration_images == 40
    assert [row.layer for row in advice.layers] == list(advice.chosen.layers)
    assert all(row.top1_only is not None for row in advice.layers)


def test_out_of_time_the_first_network_is_all_there_is() -> None:
    advice = Adviser(tiny(), CALIBRATION, SELECTION, None, bounds=NOTHING, seconds=0).advise()
    assert [each.repair for each in advice.tried] == [Repair()]
    assert not advice.ok


def test_bounds_that_a_free_repair_reaches_cost_no_layer(exhausted: tuple[Shipped, Advice]) -> None:
    module, everything = exhausted
    plain, *others = [each for each in everything.tried if not each.repair.in_float]
    wanted = max(each.sqnr_db for each in others) - 0.2
    assert plain.sqnr_db < wanted
    bounds = Bounds(drop=0.0, agreement=0.0, aim=0.0, sqnr_db=wanted)
    advice = Adviser(module, CALIBRATION, SELECTION, None, bounds=bounds).advise()
    assert advice.ok
    assert advice.best.sqnr_db >= wanted
    assert advice.best.int8_macs == 1
    assert advice.best is advice.tried[-1]  # and the search ended there
    assert timeless(advice.tried) == timeless(everything.tried)[: len(advice.tried)]


def test_within_the_bounds_but_short_of_the_aim_only_free_repairs_are_tried() -> None:
    module, bounds = shipped("mobilenet_v1_025", blocks=1), Bounds(drop=0.0, agreement=0.0, aim=1.01)
    advice = Adviser(module, CALIBRATION, SELECTION, None, bounds=bounds).advise()
    assert advice.ok
    assert len(advice.tried) == len(METHODS) + 1 + len(CORRECTIONS)
    assert {each.repair.in_float for each in advice.tried} == {()}


def test_a_few_images_that_agree_do_not_make_it_sure() -> None:
    module, few = shipped("mobilenet_v1_025", blocks=1), SELECTION[:8]
    bounds = Bounds(drop=0.0, agreement=0.5, aim=0.98, sqnr_db=-100.0)
    advice = Adviser(module, CALIBRATION, few, None, bounds=bounds).advise()
    assert advice.tried[0].agreement == 1  # 8 of 8: with 95 % confidence no more than two thirds
    assert len(advice.tried) > 1


# What it tries and keeps ------------------------------------------------------------------------------------------


def test_free_repairs_come_in_order_then_layers_in_float_twice_as_many_each_time(
    exhausted: tuple[Shipped, Advice],
) -> None:
    _, advice = exhausted
    assert not advice.ok
    free = [each.repair for each in advice.tried if not each.repair.in_float]
    costly = [each.repair for each in advice.tried if each.repair.in_float]
    assert [each.repair for each in advice.tried] == free + costly
    methods = len(METHODS)
    assert [repair.calibration for repair in free[:methods]] == list(METHODS)
    assert {(repair.equalise, repair.correction) for repair in free[:methods]} == {(False, "")}
    assert (free[methods].equalise, free[methods].correction) == (True, "")
    assert [repair.correction for repair in free[methods + 1 :]] == list(CORRECTIONS)
    assert len(costly) >= 2
    assert [len(repair.in_float) for repair in costly] == [2**power for power in range(len(costly))]
    for fewer, more in itertools.pairwise(costly):
        assert set(fewer.in_float) < set(more.in_float)
    shares = [each.int8_macs for each in advice.tried if each.repair.in_float]
    assert sorted(shares, reverse=True) == shares
    assert min(shares[:-1]) >= 0.5  # the first with fewer ends the search


def test_each_repair_stands_on_the_best_before_it(exhausted: tuple[Shipped, Advice]) -> None:
    _, advice = exhausted
    best = advice.tried[0]
    for each in advice.tried[1:]:
        repair, base = each.repair, best.repair
        changed = [field for field in vars(repair) if getattr(repair, field) != getattr(base, field)]
        assert len(changed) == 1
        if each.int8_macs >= 0.5 and each.sqnr_db > best.sqnr_db + 0.1:
            best = each
    assert advice.best == best


def test_out_of_bounds_the_best_is_the_one_of_best_sqnr(exhausted: tuple[Shipped, Advice]) -> None:
    _, advice = exhausted
    int8 = [each for each in advice.tried if each.int8_macs >= 0.5]
    assert advice.best in int8
    assert advice.best.sqnr_db >= max(each.sqnr_db for each in int8) - 0.1  # less is no reason to change
    assert advice.best.sqnr_db > advice.tried[0].sqnr_db + 0.5


def test_the_layer_that_does_most_harm_is_the_first_left_in_float(exhausted: tuple[Shipped, Advice]) -> None:
    module, advice = exhausted
    first = next(each.repair for each in advice.tried if each.repair.in_float)
    simulation = Adviser(module, CALIBRATION, SELECTION, None).build(replace(first, in_float=()))
    exact, gains = simulation.logits(SELECTION[:64], []), {}
    for layer in simulation.layers.values():
        gains[layer.name] = sqnr_db(
            exact, simulation.logits(SELECTION[:64], simulation.points.keys() - set(layer.points))
        )
    assert first.in_float == (max(gains, key=gains.__getitem__),)


def test_the_scores_are_those_of_the_network_that_was_chosen(exhausted: tuple[Shipped, Advice]) -> None:
    module, advice = exhausted
    logits = advice.chosen.logits(SELECTION)
    assert advice.best.agreement == (logits.argmax(1) == exact_answers(module)).mean()
    assert advice.best.sqnr_db == sqnr_db(Simulation(module, CALIBRATION).logits(SELECTION, []), logits)
    assert advice.best.int8_macs == advice.chosen.int8_macs
    assert advice.top1_float is advice.best.top1 is None


def test_what_is_within_the_bounds_goes_before_what_has_the_better_sqnr() -> None:
    adviser = Adviser(tiny(), CALIBRATION, SELECTION, None, bounds=Bounds(agreement=0.9))
    simulation = Simulation(tiny(), CALIBRATION)
    agreeing = Tried(Repair(), agreement=0.95, sqnr_db=20.0, top1=None, int8_macs=1.0, seconds=0.0)
    near = replace(agreeing, agreement=0.85, sqnr_db=40.0)
    adviser.best = (agreeing, simulation)
    assert not adviser._is_better(near)
    assert adviser._is_better(replace(agreeing, sqnr_db=20.2))
    assert not adviser._is_better(replace(agreeing, sqnr_db=20.05))
    adviser.best = (near, simulation)
    assert adviser._is_better(agreeing)


def test_a_drop_of_accuracy_counts_where_there_are_labels() -> None:
    module = shipped("mobilenet_v1_025", blocks=6)
    simulation = Adviser(module, CALIBRATION, SELECTION, None).build(Repair())
    rounded = simulation.logits(SELECTION).argmax(1)
    answers = exact_answers(module)
    assert (rounded != answers).any()
    bounds = Bounds(drop=0.0, agreement=0.0, aim=0.0, sqnr_db=-100.0)
    for labels, ok in ((rounded, True), (answers, False)):  # right where int8 is right; right where float is
        advice = Adviser(module, CALIBRATION, SELECTION, labels, bounds=bounds, seconds=0).advise()
        assert advice.ok == ok
        assert advice.best.top1 == (rounded == labels).mean()
        assert advice.top1_float == (answers == labels).mean()


# What every network has -------------------------------------------------------------------------------------------


def test_what_is_asked_for_at_first_is_in_all_that_is_tried() -> None:
    first = Repair(calibration="percentile", in_float=("blocks.1.depthwise",))
    bounds = Bounds(drop=0.0, agreement=0.0, aim=1.01)
    advice = Adviser(tiny(), CALIBRATION, SELECTION, None, bounds=bounds, first=first).advise()
    assert advice.tried[0].repair == first
    assert len({each.repair.calibration for each in advice.tried[: len(METHODS)]}) == len(METHODS)
    assert {each.repair.in_float for each in advice.tried} == {first.in_float}


def test_a_network_with_hardly_any_int8_is_taken_where_it_was_asked_for() -> None:
    module = tiny()
    first = Repair(in_float=tuple(Simulation(module, CALIBRATION).layers))
    advice = Adviser(module, CALIBRATION, SELECTION, None, bounds=ANYTHING, first=first).advise()
    assert advice.best.int8_macs == 0
    assert advice.ok


def test_the_same_inputs_give_the_same_advice_whatever_else_was_drawn() -> None:
    module, found = shipped("mobilenet_v1_025", blocks=1), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        found.append(Adviser(module, CALIBRATION, SELECTION, None, bounds=NOTHING).advise())
    one, two = found
    assert timeless(one.tried) == timeless(two.tried)
    assert replace(one.best, seconds=0) == replace(two.best, seconds=0)
    assert one.layers == two.layers
    assert np.array_equal(one.chosen.logits(SELECTION), two.chosen.logits(SELECTION))


def test_a_repair_says_in_words_what_it_is() -> None:
    assert Repair().describe() == "min-max ranges"
    assert Repair("entropy", True, "bias", ("a",)).describe() == (
        "equalised, entropy ranges, bias correction, 1 layer in float"
    )
    assert Repair(correction="statistics", in_float=("a", "b")).describe() == (
        "min-max ranges, restored statistics, 2 layers in float"
    )
