"""A trained network in the form that ships: one convolution with a bias in place of branches and BatchNorm."""

from __future__ import annotations

import copy

import torch

from ..arch.adapt import folded
from .fold import fold_batch_norm_
from .network import Network, build_network
from .reparam import fold_branches_


def deployed(network: Network) -> Network:
    """A new network that computes what `network` does in evaluation mode, branches and BatchNorm folded in.

    Its Spec says so (`reparam` 0, `norm` "none"), so that Spec and `state_dict` can be saved and loaded as any other's.
    The BatchNorm in front of V4's attention and layer scales stay. `network` is left as it is.

    >>> from mobilenets import create_model
    >>> network = create_model("mobilenet_v2", width=0.35, classes=3, reparam=2).eval()
    >>> plain = deployed(network)
    >>> plain.spec.reparam, plain.spec.norm.kind
    (0, 'none')
    >>> images = torch.randn(1, 3, 64, 64)
    >>> torch.allclose(network(images), plain(images), atol=1e-5)
    True
    """
    device = next(network.parameters()).device
    state = fold_batch_norm_(fold_branches_(copy.deepcopy(network))).state_dict()
    with torch.random.fork_rng(devices=[]):  # the initial weights are replaced: no random number shall be missed
        made = build_network(folded(network.spec)).to(device)
    made.load_state_dict(state)
    return made.eval()
