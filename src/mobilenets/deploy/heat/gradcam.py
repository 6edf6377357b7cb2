"""Heat maps of a torch network from its gradients: Grad-CAM."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ...nn.network import Network
from ...training.loop import Normaliser

LEAST_SIDE = 5  # of the feature map: a coarser one shows no place


def gradcam(network: Network, image: np.ndarray, label: int) -> np.ndarray:
    """Where the last feature map speaks for the class `label` (Selvaraju et al. 2017): (R, R), never negative.

    `image` is uint8 RGB (R, R, 3). The paper takes the last map before pooling; where that has fewer than 5 x 5 places
    (input below 160 pixels at stride 32) the last one that has them is taken. Its channels, weighted by the mean
    gradient of the class's logit, are added up, and what speaks against the class is cut off.
    """
    normalise = Normaliser(network.spec.preprocessing, torch.device("cpu"))
    x = normalise(torch.from_numpy(np.ascontiguousarray(image))[None])
    maps = []
    with torch.no_grad():
        for block in network.blocks:
            x = block(x)
            maps.append(x)
    sides = [min(each.shape[2:]) for each in maps]
    place = max((index for index, side in enumerate(sides) if side >= LEAST_SIDE), default=0)
    chosen = maps[place].detach().requires_grad_()
    with torch.enable_grad():
        y = chosen
        for block in network.blocks[place + 1 :]:
            y = block(y)
        (gradient,) = torch.autograd.grad(network.head(y)[0, label], chosen)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = torch.relu((weights * chosen).sum(dim=1))[0].detach().double().numpy()  # (h, w)
    side = len(image)
    enlarged: np.ndarray = cv2.resize(heat, (side, side), interpolation=cv2.INTER_LINEAR)
    return enlarged
