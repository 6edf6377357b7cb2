"""What a network learns from a teacher: the settings, and what a user may ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import UserError

TAPS = ("c3", "c4", "c5")
EMBEDDING = "embedding"  # beside the taps: what the classifier sees


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The weight of each form in the loss, 0: not used, and how it is computed.

    `soft` and `hard` are the parts of the loss on the labels that the teacher's answers take the place of (Hinton et
    al. 2015, Touvron et al. 2021); the other forms are added to it. `temperature` goes with `soft`. `taps` names the
    feature maps of `feature` and `attention` in the student and in the teacher; `embedding` the teacher's part that
    `relational` compares. `resolution`: side of the teacher's input in pixels; None: its own. `copies`: the training
    goes over that many augmented copies of the images again and again, and the teacher's answers are cached; None: it
    sees every batch.
    """

    soft: float = 0.0
    hard: float = 0.0
    feature: float = 0.0
    attention: float = 0.0
    relational: float = 0.0
    temperature: float = 4.0
    taps: tuple[tuple[str, str], ...] | None = None  # None: those of TAPS that both networks have
    embedding: str = EMBEDDING
    resolution: int | None = None
    copies: int | None = None

    @property
    def answers(self) -> float:
        """The part of the loss that comes from the teacher's answers, 0...1."""
        return self.soft + self.hard

    @property
    def looks_inside(self) -> bool:
        """Whether more than the teacher's answers is needed."""
        return bool(self.feature or self.attention or self.relational)

    @property
    def maps(self) -> bool:
        """Whether feature maps are compared."""
        return bool(self.feature or self.attention)

    def describe(self) -> str:
        """The forms and their weights in words.

        >>> Distillation(soft=0.9, relational=25).describe()
        'soft 0.9 at temperature 4, relational 25'
        """
        words = []
        for form in FORMS:
            if weight := getattr(self, form):
                words.append(f"{form} {weight:g}" + f" at temperature {self.temperature:g}" * (form == "soft"))
        return ", ".join(words)


# the weight of each form where nobody gives one: starting points by the papers and the size of each term
FORMS: dict[str, float] = {"soft": 0.9, "hard": 0.5, "feature": 0.5, "attention": 10.0, "relational": 1.0}
INPUTS = ("imagenet", "unit", "symmetric", "pixels")  # what an ONNX file of floats takes, see deploy.foreign


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What a user asked of the teacher, under the names of the command line; None: chosen."""

    teacher: str | None = None
    teacher_sha256: str | None = None  # of what the teacher was
    distill: str | None = None
    temperature: float | None = None
    teacher_taps: str | None = None
    teacher_resolution: int | None = None
    teacher_input: str | None = None
    teacher_cache: int | None = None


def choose_distillation(asked: Teaching, recipe: Distillation | None) -> Distillation | None:
    """The settings: the recipe's, or soft labels, with what was asked; None without a teacher.

    `asked.distill` lists forms, each with its weight where it is not the usual one: `soft:0.7,relational`. Raises
    UserError, one line, for a value out of range and for settings that contradict each other.
    """
    if asked.teacher is None:
        for part in fields(asked):
            if getattr(asked, part.name) is not None:
                raise UserError(f"{part.name.replace('_', ' ')} goes with a teacher: give --teacher")
        return None
    settings = recipe or Distillation(soft=FORMS["soft"])
    if asked.distill is not None:
        weights: dict[str, Any] = dict.fromkeys(FORMS, 0.0) | _weights(asked.distill)
        settings = replace(settings, **weights)
    if asked.temperature is not None:
        _bounded("temperature", asked.temperature, asked.temperature > 0, "above 0")
        if not settings.soft:
            raise UserError(f"temperature {asked.temperature:g} goes with the form soft: add it to --distill")
        settings = replace(settings, temperature=float(asked.temperature))
    if asked.teacher_taps is not None:
        settings = replace(settings, **_places(asked.teacher_taps, settings))
    if asked.teacher_resolution is not None:
        size = asked.teacher_resolution
        _bounded("teacher resolution", size, 16 <= size <= 4096, "16 to 4096 pixels")
        settings = replace(settings, resolution=size)
    if asked.teacher_input not in (None, *INPUTS):
        raise UserError(f"unknown teacher input {asked.teacher_input!r}; allowed: {', '.join(INPUTS)}")
    if asked.teacher_cache is not None:
        settings = replace(settings, copies=asked.teacher_cache)
        _bounded("teacher cache", asked.teacher_cache, asked.teacher_cache >= 1, "1 or more copies")
    if settings.copies and settings.looks_inside:
        form = next(form for form in ("feature", "attention", "relational") if getattr(settings, form))
        raise UserError(f"teacher cache keeps answers alone, not what {form} needs: leave one of the two out")
    return settings


def _weights(text: str) -> dict[str, float]:
    """`soft:0.7,relational` as weights by form."""
    found: dict[str, float] = {}
    usual = {word.strip() for word in text.split(",")}  # those without a weight of their own
    for word in text.split(","):
        form, colon, number = (part.strip() for part in word.partition(":"))
        if form not in FORMS:
            raise UserError(f"unknown form {form!r} of distillation; allowed: {', '.join(FORMS)}")
        if form in found:
            raise UserError(f"distill {text!r} names {form} twice")
        try:
            found[form] = float(number) if colon else FORMS[form]
        except ValueError:
            raise UserError(f"the weight {number!r} of {form} is not a number") from None
        _bounded(f"the weight of {form}", found[form], 0 < found[form] < 1e6, "above 0 and below a million")
    if "soft" in usual and "hard" in usual:  # alone each takes more than half of the labels' part
        found |= {"soft": FORMS["soft"] / 2, "hard": FORMS["hard"] / 2}
    total = found.get("soft", 0.0) + found.get("hard", 0.0)
    if total > 1:
        raise UserError(f"the weights of soft and hard add up to {total:g}; allowed is 1, labels have the rest")
    return found


def _places(text: str, settings: Distillation) -> dict[str, Any]:
    """`c4,c5=layer4,embedding=avgpool` as the taps of student and teacher, and the teacher's embedding."""
    pairs: dict[str, str] = {}
    for word in text.split(","):
        own, equals, other = (part.strip() for part in word.partition("="))
        if not own or (equals and not other) or own in pairs:
            raise UserError(f"teacher taps {text!r}: expected names such as c4,c5 or c4=layer3,c5=layer4, each once")
        pairs[own] = other or own
    embedding = pairs.pop(EMBEDDING, None)
    if pairs and not settings.maps:
        raise UserError(f"teacher taps {','.join(pairs)} go with the forms feature and attention: add one to --distill")
    if embedding is not None and not settings.relational:
        raise UserError(f"teacher taps embedding={embedding} goes with the form relational: add it to --distill")
    found: dict[str, Any] = {"taps": tuple(pairs.items())} if pairs else {}
    return found | ({} if embedding is None else {"embedding": embedding})


def _bounded(name: str, value: float, fits: bool, allowed: str) -> None:
    if not fits:
        raise UserError(f"{name} {value:g} is out of range: allowed is {allowed}")
