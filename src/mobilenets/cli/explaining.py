"""`explain`: what an answer rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from . import output
from .output import Answer

Method = Literal["gradcam", "rise", "occlusion"]


def explain(
    network: str,
    image: Path,
    /,
    *,
    out: Path | None = None,
    method: Method | None = None,
    class_: str | None = None,
    runs: int | None = None,
    seed: int = 0,
) -> Answer:
    """Draws what an answer rests on: the photo, the heat over it, the scores, and how true the map is.

    The map of a model file is computed on that file in its own runtime, by covering parts of the photo.

    Args:
        network: a Run, a Bundle, a model file inside a bundle, which then runs in its own runtime, or published weights
        image: one picture
        out: picture to write, .png, which needs matplotlib, or .svg; IMAGE.explained.png here where not given
        method: gradcam (torch alone), rise or occlusion; left out: gradcam where torch runs the network, else occlusion
        class_: the class in question; left out, the likeliest
        runs: random masks of rise; left out 1,000
        seed: of the random masks, and of the random maps that the map is compared with
    """
    from ..deploy.explain import explain as explain_picture

    found = explain_picture(network, image, out, method=method, label=class_, runs=runs, seed=seed)

    def show() -> None:
        truth = found["faithfulness"]
        output.table(
            ["class", ">score"], [[row["label"], output.percent(row["score"])] for row in found["predictions"]]
        )
        output.line("")
        if found["unknown"]:
            output.line("unknown      the first score lies below the network's threshold")
        output.line(f"explained    {found['class']}, {output.percent(found['score'])}")
        output.line(f"method       {found['method']}, {output.count(found['runs'])} runs in {found['seconds']:.1f} s")
        output.line(
            f"without      the hottest tenth covered: {output.percent(truth['without_hottest_tenth'])}; alone: "
            f"{output.percent(truth['hottest_tenth'])}"
        )
        output.line(
            f"deletion     {truth['deletion']:.3f}, a random map {truth['random_deletion']:.3f}; lower is better"
        )
        output.line(
            f"insertion    {truth['insertion']:.3f}, a random map {truth['random_insertion']:.3f}; higher is better"
        )
        output.line(f"picture      {found['picture']}")

    return Answer(found, show)
