"""What a user may ask of a teacher, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mobilenets.errors import UserError
from mobilenets.training.distillation import FORMS, Distillation, Teaching, choose_distillation


def chosen(**asked: Any) -> Distillation:
    found = choose_distillation(Teaching(teacher="t", **asked), None)
    assert found is not None
    return found


def test_soft_labels_by_themselves() -> None:
    settings = chosen()
    assert settings.soft == FORMS["soft"]
    assert settings.answers == settings.soft
    assert not settings.looks_inside
    assert choose_distillation(Teaching(), Distillation(soft=1.0)) is None  # no teacher, whatever the recipe


def test_a_recipes_own_settings_hold_where_nothing_is_asked() -> None:
    own = Distillation(soft=0.5, relational=2.0, temperature=2.0)
    assert choose_distillation(Teaching(teacher="t"), own) == own
    changed = choose_distillation(Teaching(teacher="t", distill="hard"), own)
    assert changed == Distillation(hard=FORMS["hard"], temperature=2.0)


def test_forms_have_usual_weights_or_their_own() -> None:
    assert chosen(distill="soft:0.7, relational:25", temperature=2.0) == Distillation(
        soft=0.7, relational=25.0, temperature=2.0
    )
    both = chosen(distill="soft,hard")
    assert both.answers == pytest.approx((FORMS["soft"] + FORMS["hard"]) / 2)
    assert chosen(distill="feature", teacher_taps="c4,c5=layer4").taps == (("c4", "c4"), ("c5", "layer4"))
    assert chosen(distill="relational", teacher_taps="embedding=avgpool").embedding == "avgpool"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"distill": "softly"}, "unknown form 'softly' of distillation; allowed: soft, hard, feature"),
        ({"distill": "soft:much"}, "the weight 'much' of soft is not a number"),
        ({"distill": "soft:0"}, "the weight of soft 0 is out of range"),
        ({"distill": "relational:nan"}, "the weight of relational nan is out of range"),
        ({"distill": "soft:0.8,hard:0.3"}, "add up to 1.1"),
        ({"distill": "soft,soft"}, "names soft twice"),
        ({"temperature": 0.0}, "temperature 0 is out of range"),
        ({"temperature": 2.0, "distill": "hard"}, "temperature 2 goes with the form soft"),
        ({"teacher_taps": "c4"}, "teacher taps c4 go with the forms feature and attention"),
        ({"teacher_taps": "embedding=x"}, "goes with the form relational"),
        ({"teacher_taps": "c4=", "distill": "feature"}, "expected names such as"),
        ({"teacher_resolution": 4}, "teacher resolution 4 is out of range"),
        ({"teacher_input": "caffe"}, "unknown teacher input 'caffe'; allowed: imagenet, unit, symmetric, pixels"),
        ({"teacher_cache": 0}, "teacher cache 0 is out of range"),
        ({"teacher_cache": 2, "distill": "soft,feature"}, "teacher cache keeps answers alone, not what feature needs"),
        ({"teacher": None, "temperature": 2.0}, "temperature goes with a teacher: give --teacher"),
        ({"teacher": None, "teacher_cache": 2}, "teacher cache goes with a teacher"),
    ],
)
def test_what_makes_no_sense_is_one_line(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        choose_distillation(Teaching(**{"teacher": "t", **asked}), None)
    assert "\n" not in str(caught.value)
