"""Puts a recognised network together: Spec, conventions, and every tensor under our names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...arch.profiles import V1_AUTHORS, V2_AUTHORS, V3_AUTHORS, V4_AUTHORS
from ...arch.spec import ACTIVATIONS, Activation, Block, Head, Norm, Preprocessing, Spec
from ...errors import UserError
from ..graph import Source
from ..recognised import Recognised
from .ends import Tail, layers_of, nodes_of
from .grammar import Part, Squeeze
from .match import find_architecture, find_backbone, parts, signature
from .padding import Padded, common_rule, padded
from .simplify import Layer, Simplified
from .tensors import TensorWriter

_AUTHORS = {1: V1_AUTHORS, 2: V2_AUTHORS, 3: V3_AUTHORS, 4: V4_AUTHORS}
LEAKY_SLOPE = 0.01
BACKGROUND_OUTPUTS = 1001


class Assembly:
    """Puts the parts of one file together: Spec first, then the tensors under the Spec's names."""

    def __init__(
        self, source: Source, simplified: Simplified, where: str, found: list[Part], tail: Tail, backbone: bool
    ) -> None:
        self.source, self.graph, self.simplified, self.where = source, source.graph, simplified, where
        self.found, self.tail, self.backbone = found, tail, backbone
        self.facts = dict(source.facts)

    def recognised(self) -> Recognised:
        """The Spec, the tensors, and the account of the file's tensors."""
        blocks = self._skeletons()
        known, blocks = self._known(blocks)
        head = self._head()
        convolutions = [layer for part in self.found for layer in part.layers.values()]
        blocks, rule = self._with_padding(blocks, convolutions)
        blocks, norm = self._with_norm(blocks, convolutions)
        if known is not None and norm.kind == "none":
            head = replace(head, hidden_norm=known.head.hidden_norm and bool(head.c_hidden))
        spec = self._spec(known, blocks, head, norm, rule)
        if self._bgr() and convolutions[0].groups != 1:
            raise UserError(f"{self.where}: takes BGR into a depthwise convolution, which cannot be turned round")
        writer = TensorWriter(spec, bgr=self._bgr())
        layers = iter(convolutions)
        for index, block in enumerate(blocks):
            for name, *_ in parts(block):
                writer.convolution(f"blocks.{index}.{name}", next(layers))
        self._write_squeezes(writer, blocks)
        if self.tail.hidden is not None:
            writer.convolution("head.hidden", self.tail.hidden)
        if self.tail.classifier is not None:
            writer.dense("head.classifier", self.tail.classifier, linear=True)
        self._refuse_damage(writer.state(), spec.preprocessing)
        used, set_aside = self._account()
        return Recognised(
            format=self.source.format,
            spec=spec,
            state=writer.state(),
            used=used,
            set_aside=set_aside,
            quantisation=self.source.quantisation,
            labels=self.source.labels,
            facts=self._facts(spec, known),
        )

    def _skeletons(self) -> tuple[Block, ...]:
        """The parts as Blocks; a backbone ends before the first part that no Block can say."""
        blocks: list[Block] = []
        for part in self.found:
            try:
                blocks.append(self._skeleton(part))
            except UserError:
                if not self.backbone or not blocks:
                    raise
                break
        return tuple(blocks)

    def _known(self, blocks: tuple[Block, ...]) -> tuple[Spec | None, tuple[Block, ...]]:
        """The registry's architecture and the blocks under its kinds and taps.

        A backbone ends where the architecture does: what follows it belongs to a detector or a decoder.
        """
        if not self.backbone:
            known = find_architecture(blocks, self._head())
            return known, blocks if known is None else _renamed(known.blocks, blocks)
        backbone = find_backbone(blocks)
        self.found = self.found[: len(blocks)]
        if backbone is None:
            return None, blocks
        known, count = backbone
        self.found, blocks = self.found[:count], blocks[:count]
        if count < len(known.blocks):
            self.facts["backbone"] = f"the first {count} of {len(known.blocks)} blocks"
        return known, _renamed(known.blocks[:count], blocks)

    def _skeleton(self, part: Part) -> Block:
        """The part as a Block, without padding and normalisation."""
        layers = part.layers
        for layer in layers.values():
            self._check(layer)
        strided = [layer for layer in layers.values() if layer.stride != (1, 1)]
        first, last = next(iter(layers.values())), list(layers.values())[-1]
        kernel = {name: int(layer.weight.shape[2]) for name, layer in layers.items()}
        named = ("expand",) if part.kind == "fused" else ("conv", "depthwise", "depthwise_mid")
        middle = next((name for name in named if name in kernel), None)
        inner = [layer for name, layer in layers.items() if name not in ("depthwise_start",)]
        act = self._activation(inner[0])
        block = Block(
            kind=part.kind,
            c_in=first.c_in,
            c_mid=last.c_in if len(layers) > 1 else last.c_out,
            c_out=last.c_out,
            k_start=kernel.get("depthwise_start", 0),
            k_mid=kernel[middle] if middle else 0,
            stride=strided[0].stride[0] if strided else 1,
            dilation=self._dilation(layers),
            act=act,
            linear=len(layers) > 1 and last.act == "identity",
            residual=part.residual,
            c_se=part.squeeze.reduce.c_out if part.squeeze else 0,
        )
        self._refuse_unlike(part, block, strided)
        return block

    def _dilation(self, layers: dict[str, Layer]) -> int:
        found = {layer.dilation[0] for layer in layers.values() if layer.weight.shape[2] > 1}
        if len(found) > 1:
            name = next(iter(layers.values())).name
            raise UserError(
                f"{self.where}: the block at {name!r} mixes the dilations {', '.join(map(str, sorted(found)))}"
            )
        return found.pop() if found else 1

    def _refuse_unlike(self, part: Part, block: Block, strided: list[Layer]) -> None:
        """Raises UserError where the file's block does what a Block cannot say."""
        name = next(iter(part.layers.values())).name
        last = list(part.layers)[-1]
        if len(strided) > 1 or (strided and strided[0] is not part.layers.get(block.strided)):
            raise UserError(f"{self.where}: the block at {name!r} has its stride where no block of ours has it")
        acts = {layer.act for part_name, layer in part.layers.items() if part_name not in ("depthwise_start", last)}
        ends = {part.layers[last].act} - {"identity"}
        if len(acts | (ends if len(part.layers) > 1 else set())) > 1 and block.act != "identity":
            raise UserError(
                f"{self.where}: the block at {name!r} mixes the activations {', '.join(sorted(acts | ends))}"
            )
        if block.act == "identity" and ends and len(part.layers) > 1:
            raise UserError(f"{self.where}: the block at {name!r} has an activation at its end alone")
        if block.fault:
            raise UserError(f"{self.where}: the block at {name!r} {block.fault}")

    def _check(self, layer: Layer) -> None:
        self._activation(layer)
        kernel = layer.weight.shape[2:]
        if kernel[0] != kernel[1] or layer.stride[0] != layer.stride[1] or layer.dilation[0] != layer.dilation[1]:
            raise UserError(
                f"{self.where}: {layer.name!r} has a kernel of {kernel[0]}x{kernel[1]}, stride {layer.stride}, "
                f"dilation {layer.dilation}; height and width must be alike"
            )

    def _activation(self, layer: Layer) -> Activation:
        if layer.act not in ACTIVATIONS:
            raise UserError(
                f"{self.where}: {layer.name!r} ends in {layer.act}; known activations: {', '.join(ACTIVATIONS)}"
            )
        if layer.act == "leaky_relu" and abs(layer.slope - LEAKY_SLOPE) > 1e-6:
            raise UserError(
                f"{self.where}: {layer.name!r} has a leaky ReLU of slope {layer.slope:g}; allowed: {LEAKY_SLOPE}"
            )
        return layer.act  # type: ignore[return-value]

    def _head(self) -> Head:
        """The head, its dropout and hidden normalisation still open."""
        hidden, classifier = self.tail.hidden, self.tail.classifier
        outputs = 0 if classifier is None else classifier.c_out
        last = list(self.found[-1].layers.values())[-1].c_out
        background = outputs == BACKGROUND_OUTPUTS
        return Head(
            c_in=last,
            c_hidden=0 if hidden is None else hidden.c_out,
            hidden_norm=hidden is not None and hidden.norm is not None,
            act="identity" if hidden is None else self._activation(hidden),
            classes=outputs - background,
            bias=classifier is None or classifier.bias is not None or classifier.norm is not None,
            background=background,
        )

    def _with_padding(self, blocks: tuple[Block, ...], layers: list[Layer]) -> tuple[tuple[Block, ...], Any]:
        """The blocks with explicit padding where the common rule does not fit, and that rule."""
        height, width = self.graph.height, self.graph.width
        sizes: list[Padded] = []
        for layer in layers:
            sizes.append(padded(layer, height, width))
            height, width = sizes[-1].height, sizes[-1].width
        rule = common_rule(sizes)
        at = 0
        changed = []
        for block in blocks:
            for name, *_ in parts(block):
                if rule not in sizes[at].rules:
                    if name != block.strided or sizes[at].pad is None:
                        raise UserError(f"{self.where}: {layers[at].name!r} is padded as no convolution of ours can be")
                    block = replace(block, pad=sizes[at].pad)
                at += 1
            changed.append(block)
        return tuple(changed), rule

    def _with_norm(self, blocks: tuple[Block, ...], layers: list[Layer]) -> tuple[tuple[Block, ...], Norm]:
        """The blocks with their folded convolutions named, and the network's normalisation."""
        generation = _generation(blocks)
        momentum = _AUTHORS[generation].momentum
        norms = [layer.norm for layer in layers if layer.norm is not None]
        if not norms:
            self.facts["BatchNorm"] = "folded into the convolutions"
            return blocks, Norm(kind="none", eps=_AUTHORS[generation].eps, momentum=momentum)
        each = iter(layers)
        changed = []
        for block in blocks:
            folded = tuple(name for name, *_ in parts(block) if next(each).norm is None)
            changed.append(replace(block, folded=folded))
        eps = min(norm.eps for norm in norms)  # the others' variances grow by the rest, so that none is negative
        self.facts["BatchNorm"] = f"{len(norms)} layers, epsilon {eps:g}"
        return tuple(changed), Norm(eps=eps, momentum=momentum)

    def _spec(self, known: Spec | None, blocks: tuple[Block, ...], head: Head, norm: Norm, rule: Any) -> Spec:
        generation = known.generation if known else _generation(blocks)
        squeezes = [part.squeeze for part in self.found if part.squeeze]
        return Spec(
            name=known.name if known else f"mobilenet_v{generation}_custom",
            generation=generation,
            width=known.width if known else 1.0,
            blocks=blocks,
            head=replace(head, dropout=known.head.dropout if known else 0.2),
            preprocessing=self._preprocessing(),
            in_channels=self.found[0].layers[next(iter(self.found[0].layers))].c_in,
            profile="authors",
            norm=norm,
            padding=rule,
            init="truncated_normal",
            **self._squeeze_forms(squeezes),
        )

    def _squeeze_forms(self, squeezes: list[Squeeze]) -> dict[str, Any]:
        for squeeze in squeezes:
            self._activation(squeeze.reduce)
        forms = {(squeeze.reduce.act, squeeze.excite.act) for squeeze in squeezes}
        if len(forms) > 1:
            raise UserError(f"{self.where}: squeeze-and-excite in {len(forms)} forms; a network of ours has one")
        if not squeezes:
            return {}
        return {"se_act": self._activation(squeezes[0].reduce), "se_gate": squeezes[0].excite.act}

    def _write_squeezes(self, writer: TensorWriter, blocks: tuple[Block, ...]) -> None:
        squeezes = iter([part.squeeze for part in self.found if part.squeeze])
        for index, block in enumerate(blocks):
            if block.c_se:
                squeeze = next(squeezes)
                writer.dense(f"blocks.{index}.se.reduce", squeeze.reduce, linear=False)
                writer.dense(f"blocks.{index}.se.expand", squeeze.excite, linear=False)

    def _bgr(self) -> bool:
        return self.source.normalisation is not None and self.source.normalisation.bgr

    def _preprocessing(self) -> Preprocessing:
        """Resolution, mean and std. What the file does not say is said in the facts."""
        graph, given = self.graph, self.source.normalisation
        channels = next(iter(self.found[0].layers.values())).c_in
        if graph.height != graph.width:
            self.facts["input"] = (
                f"{graph.width}x{graph.height} pixels; taken as {max(graph.height, graph.width)} square"
            )
        resolution = max(graph.height, graph.width) or 224
        mean, std = np.zeros(channels), np.ones(channels)  # x in, (x - mean) / std to the first operation
        said = []
        if given is not None:
            mean, std = np.resize(given.mean, channels), np.resize(given.std, channels)
            said.append("stated by the file" if given.stated else f"not in the file; {given.custom}")
        if self.simplified.scale is not None and self.simplified.offset is not None:
            scale, offset = (np.resize(x, channels) for x in (self.simplified.scale, self.simplified.offset))
            if self._bgr():
                scale, offset = scale[::-1], offset[::-1]
            with np.errstate(divide="ignore", invalid="ignore"):  # a factor of 0 is told as damage
                mean, std = mean - offset / scale * std, std / scale
            said.append("in the graph")
        if not said:
            said.append("not in the file: raw values 0...255")
        self.facts["normalisation"] = f"(x - {_numbers(mean)}) / {_numbers(std)}, {' and '.join(said)}"
        return Preprocessing(
            resolution=resolution,
            resize="shortest",
            crop_fraction=0.875,
            interpolation="bilinear",
            mean=tuple(float(x) for x in mean),
            std=tuple(float(x) for x in std),
        )

    def _refuse_damage(self, state: dict[str, np.ndarray], pre: Preprocessing) -> None:
        for name, values in state.items():
            if not np.isfinite(values).all():
                raise UserError(f"{self.where}: damaged: {name} holds values that are no finite numbers")
            if name.endswith("running_var") and values.min() < 0:
                raise UserError(f"{self.where}: damaged: {name} holds a negative variance")
        if not (np.isfinite(pre.mean).all() and np.isfinite(pre.std).all() and all(pre.std)):
            raise UserError(f"{self.where}: damaged: it multiplies its input by {self.simplified.scale}")

    def _account(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """The file's tensors that were used, and those set aside; raises UserError for one that is neither."""
        used = dict.fromkeys(self.simplified.input_sources)
        for layer in layers_of(self.found, self.tail):
            used.update(dict.fromkeys(layer.sources))
        for node in nodes_of(self.found, self.tail):
            used.update(dict.fromkeys(node.sources))
        set_aside = dict(self.graph.set_aside)
        rest = [name for name in self.graph.tensors if name not in used and name not in set_aside]
        if rest and not self.backbone:
            raise UserError(f"{self.where}: {len(rest)} tensors would be left over, {rest[0]!r} first")
        set_aside |= dict.fromkeys(rest, "not part of the backbone")
        return tuple(used), set_aside

    def _facts(self, spec: Spec, known: Spec | None) -> dict[str, str]:
        head = spec.head
        own = {
            "architecture": f"{spec.name}, generation {spec.generation}, width {spec.width:g}"
            if known
            else f"none of the registry's: {len(spec.blocks)} blocks in the manner of V{spec.generation}",
            "resolution": f"{spec.resolution}" + ("" if self.graph.height else ", not in the file"),
            "classes": _classes(head),
            "padding": _padding(spec),
        }
        return own | {"quantisation": self.source.quantisation or "none"} | self.facts


def _classes(head: Head) -> str:
    if not head.classes:
        return "none: it ends in features"
    return f"{head.classes}" + (" and a background class in front" if head.background else "")


def _padding(spec: Spec) -> str:
    own = sum(block.pad is not None for block in spec.blocks)
    rule = "TensorFlow's SAME" if spec.padding == "same" else "symmetric"
    return rule + (f", explicit in {own} blocks" if own else "")


def _generation(blocks: tuple[Block, ...]) -> int:
    kinds = {block.kind for block in blocks}
    if kinds & {"universal", "attention", "fused"}:
        return 4
    if any(block.c_se or block.act == "hard_swish" for block in blocks):
        return 3
    return 2 if "inverted" in kinds else 1


def _renamed(known: tuple[Block, ...], found: tuple[Block, ...]) -> tuple[Block, ...]:
    """The registry's blocks, kinds and taps, with the activations that the file has; the file's own where unlike."""
    if signature(known) != signature(found):  # a backbone with other strides: its own blocks, under the taps' names
        return tuple(replace(mine, tap=theirs.tap) for mine, theirs in zip(found, known))
    acts = [act for block in found for act in _acts(block)]
    named = []
    at = 0
    for block in known:
        mine = acts[at : at + len(parts(block))]
        at += len(mine)
        inner = [act for (name, *_), act in zip(parts(block), mine) if name != "depthwise_start"]
        changed = replace(block, act=inner[0], linear=len(inner) > 1 and inner[-1] == "identity")
        if _acts(changed) != mine:
            return found
        named.append(changed)
    named[0] = replace(named[0], c_in=found[0].c_in)  # pictures of 1, 3, 4 ... channels
    return tuple(named)


def _acts(block: Block) -> list[Activation]:
    """The activation after each convolution of the block."""
    names = [name for name, *_ in parts(block)]
    acts: list[Activation] = ["identity" if name == "depthwise_start" else block.act for name in names]
    if block.linear:
        acts[-1] = "identity"
    return acts


def _numbers(values: np.ndarray) -> str:
    texts = [f"{value:.5g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
