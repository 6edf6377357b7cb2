"""A Spec as a torch module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ..arch.adapt import with_classes
from ..arch.spec import Head, Spec, Tap
from ..errors import UserError
from .blocks import BLOCKS, Style
from .init import initialise_
from .layers import ConvNormAct
from .noise import dropout


class Network(nn.Module):
    """A MobileNet built from its Spec.

    `forward`: (N, C, H, W) normalised float -> (N, outputs) logits, or the embedding where the Spec has no classes.
    H and W are free: 16 or more, equal or not.

    >>> import torch
    >>> from mobilenets.arch.registry import create_spec
    >>> network = build_network(create_spec("mobilenet_v3_small", classes=5)).eval()
    >>> images = torch.randn(1, 3, 96, 128)
    >>> network(images).shape, network.embed(images).shape
    (torch.Size([1, 5]), torch.Size([1, 1024]))
    >>> [(tap.name, tap.channels, tap.stride) for tap in network.taps]
    [('c1', 16, 2), ('c2', 16, 4), ('c3', 24, 8), ('c4', 48, 16), ('c5', 96, 32)]
    >>> network.features(images, ["c3"])["c3"].shape
    torch.Size([1, 24, 12, 16])
    >>> network.reset_head(2)
    >>> network(images).shape
    torch.Size([1, 2])
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        style = Style.of(spec)
        self.blocks = nn.ModuleList(BLOCKS[block.kind](block, style) for block in spec.blocks)
        self.head = ClassifierHead(spec.head, style)
        initialise_(self, spec.init)

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Name, channels and stride of the feature maps that `features` can return."""
        return self.spec.taps

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))

    def trunk(self, x: Tensor) -> Tensor:
        """The last feature map before pooling: (N, C, H, W) -> (N, head.c_in, H / stride, W / stride)."""
        for block in self.blocks:
            x = block(x)
        return x

    def features(self, x: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The tapped feature maps by name, in order, (N, channels, H / stride, W / stride) each, rounded up.

        Layers after the last one wanted are not run. Raises UserError when a name is not among `taps`.
        """
        available = [tap.name for tap in self.taps]
        missing = set(available if names is None else names)
        for name in missing:
            if name not in available:
                raise UserError(f"no feature map {name!r} in {self.spec.name}; allowed: {', '.join(available)}")
        found: dict[str, Tensor] = {}
        for block, module in zip(self.spec.blocks, self.blocks):
            if not missing:
                break
            x = module(x)
            if block.tap in missing:
                found[block.tap] = x
                missing.remove(block.tap)
        return found

    def embed(self, x: Tensor) -> Tensor:
        """What the classifier sees: (N, C, H, W) -> (N, head.c_embedding), before dropout."""
        return self.head.embed(self.trunk(x))

    def reset_head(self, classes: int, *, background: bool = False) -> None:
        """Replaces the classifier by a fresh one with `classes` labels (0: none); the rest keeps its weights.

        `spec` follows. Raises UserError when `classes` is negative.
        """
        self.spec = with_classes(self.spec, classes, background=background)
        self.head.reset_classifier(self.spec.head)
        if self.head.classifier is not None:
            parameter = next(self.blocks.parameters())
            self.head.classifier.to(parameter.device, parameter.dtype)
            initialise_(self.head.classifier, self.spec.init)


class ClassifierHead(nn.Module):
    """Global average pooling, optional hidden layer, dropout, linear classifier. (N, c_in, H, W) -> (N, outputs)."""

    def __init__(self, head: Head, style: Style) -> None:
        super().__init__()
        self.hidden: nn.Module = nn.Identity()
        if head.c_hidden:
            norm = style.norm if head.hidden_norm else None
            self.hidden = ConvNormAct(head.c_in, head.c_hidden, 1, act=head.act, norm=norm)
        self.classifier: nn.Linear | None = None
        self.reset_classifier(head)

    def reset_classifier(self, head: Head) -> None:
        """Takes over the head's dropout and number of outputs with fresh weights."""
        self.dropout = head.dropout
        self.classifier = nn.Linear(head.c_embedding, head.outputs, bias=head.bias) if head.classes else None

    def embed(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_embedding)."""
        x = F.adaptive_avg_pool2d(x, 1)  # (N, c_in, 1, 1)
        return self.hidden(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.classifier is None:
            return x
        return self.classifier(dropout(x, self.dropout, self.training))


def build_network(spec: Spec) -> Network:
    """The network of a Spec in training mode, freshly initialised by torch's global random generator."""
    return Network(spec)
