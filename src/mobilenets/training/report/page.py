"""The page: one file that needs nothing but itself, without scripts and without the network."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

from ... import __version__
from ...atomic import write_text
from ..run import REPORT
from .classes import per_class
from .confidence import confidence
from .confusion import confusion
from .costs import costs
from .curves import curves
from .facts import Facts, read_facts
from .html import Child, Markup, join, tag
from .int8 import int8
from .mistakes import mistakes
from .origin import data, reproduce, settings, start, teacher
from .pruned import pruned
from .verdict import data_name, heading, verdict

PARTS = (
    ("int8", "int8", int8),
    ("pruned", "Pruning", pruned),
    ("curves", "Curves", curves),
    ("confusion", "Confusion", confusion),
    ("classes", "By class", per_class),
    ("confidence", "Confidence", confidence),
    ("mistakes", "Mistakes", mistakes),
    ("cost", "Cost", costs),
    ("data", "Data", data),
    ("start", "Start", start),
    ("teacher", "Teacher", teacher),
    ("settings", "Settings", settings),
    ("reproduce", "Reproduce", reproduce),
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the browser itself refuses any loading


def write_report(run: Path, place: Path | None = None) -> Path:
    """The path of `report.html`, written into the Run from its files, all or nothing.

    `place` is where the Run will lie, if that is elsewhere.
    Works at any time after the training began; what is not there yet is said to be missing. The same files give the
    same bytes. Raises UserError when a file of the Run is broken.
    """
    facts = read_facts(Path(run))
    path = facts.path / REPORT
    write_text(path, render(facts if place is None else replace(facts, path=place)))
    return path


def render(facts: Facts) -> str:
    """The whole report as HTML."""
    made = [(identity, name, part(facts)) for identity, name, part in PARTS]
    links = [tag("a", name, at={"href": f"#{identity}"}) for identity, name, content in made if content]
    return document(
        f"{facts.spec.name} on {data_name(facts)}",
        tag("header", tag("p.brand", "mobilenets", tag("span", "training report")), heading(facts), tag("nav", links)),
        tag("main", verdict(facts), [content for _, _, content in made]),
        tag("footer", f"Written by mobilenets {__version__} from the files of the run."),
    )


def document(title: str, *body: Child) -> Markup:
    """A complete HTML document with the report's style inside."""
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = [
        tag("meta", at={"charset": "utf-8"}),
        tag("meta", at={"http-equiv": "Content-Security-Policy", "content": POLICY}),
        tag("meta", at={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", at={"name": "color-scheme", "content": "light dark"}),
        tag("title", title),
        tag("style", Markup(style)),
    ]
    page = tag("html", tag("head", head), tag("body", *body), at={"lang": "en"})
    return join([Markup("<!DOCTYPE html>\n"), page, "\n"])
