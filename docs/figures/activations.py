"""Draws docs/images/activations.png: ReLU, ReLU6, swish and hard-swish, and their gates (V3 paper, figure 6).

python docs/figures/activations.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from mobilenets.nn.layers import activation, gate

PICTURE = Path(__file__).resolve().parents[1] / "images" / "activations.png"
GREY, ORANGE, TEAL = "#8b97a3", "#c4500c", "#0f7c72"


def main() -> None:
    x = torch.linspace(-6, 7.5, 1000)
    figure, (gates, acts) = plt.subplots(1, 2, figsize=(9, 3.1), layout="constrained")
    gates.plot(x, torch.sigmoid(x), color=GREY, label="sigmoid(x)")
    gates.plot(x, gate("hard_sigmoid")(x.clone()), color=TEAL, label="hard sigmoid: ReLU6(x + 3) / 6")
    gates.set_title("The gate", fontsize=10)
    acts.plot(x, activation("relu6")(x.clone()), color=ORANGE, label="ReLU6(x)")
    acts.plot(x, F.silu(x), color=GREY, label="swish: x · sigmoid(x)")
    acts.plot(x, activation("hard_swish")(x.clone()), color=TEAL, label="hard-swish: x · ReLU6(x + 3) / 6")
    acts.set_title("The activation", fontsize=10)
    for axis in (gates, acts):
        axis.legend(frameon=False, fontsize=8, loc="upper left")
        axis.axhline(0, color="#d9dee3", linewidth=0.8, zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
