"""Where a network's weights lie: device and memory layout."""

from __future__ import annotations

import torch

from .network import Network


def placed(network: Network, device: torch.device) -> Network:
    """The network on a device, its weights in channels_last memory: the faster layout on CPUs and GPUs."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)
