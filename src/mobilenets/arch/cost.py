"""What a network costs before it exists: multiply-adds, parameters, bytes, peak activation memory. No torch.

One multiply-add is one MAC. `macs` counts convolutions and linear layers, without bias, BatchNorm or activation;
attention's two matrix products stand beside it as `macs_attention`. Branches of `Spec.reparam` fold into one
convolution before a network ships: what is counted is that network, the same with and without them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .graph import Op, graph
from .spec import Spec

# Named formulas of the V1 paper -----------------------------------------------------------------------------------


def standard_conv_macs(kernel: int, c_in: float, c_out: float, size: float) -> float:
    """D_K * D_K * M * N * D_F * D_F (Howard et al. 2017, equation 2); `size` is the output's side D_F.

    >>> standard_conv_macs(3, 64, 128, 112)
    924844032
    """
    return kernel * kernel * c_in * c_out * size * size


def depthwise_conv_macs(kernel: int, c_in: float, size: float) -> float:
    """D_K * D_K * M * D_F * D_F (equation 4)."""
    return kernel * kernel * c_in * size * size


def separable_conv_macs(
    kernel: int, c_in: float, c_out: float, size: float, *, alpha: float = 1.0, rho: float = 1.0
) -> float:
    """D_K D_K αM ρD_F ρD_F + αM αN ρD_F ρD_F (equations 5, 6 and 7).

    >>> separable_conv_macs(3, 64, 128, 112)
    109985792.0
    """
    m, n, f = alpha * c_in, alpha * c_out, rho * size
    return depthwise_conv_macs(kernel, m, f) + standard_conv_macs(1, m, n, f)


def separable_ratio(kernel: int, c_out: float) -> float:
    """1/N + 1/D_K^2: cost of the separable layer relative to the standard convolution (section 3.1).

    >>> round(separable_ratio(3, 128), 4)
    0.1189
    """
    return 1 / c_out + 1 / kernel**2


def inverted_residual_macs(kernel: int, c_in: int, c_out: int, expansion: float, height: int, width: int) -> float:
    """h w d' t (d' + k^2 + d''): the bottleneck block at stride 1 (Sandler et al. 2018, section 3)."""
    return height * width * c_in * expansion * (c_in + kernel**2 + c_out)


# A whole network --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer. `out` is (channels, height, width); `alive_bytes` what must be in memory while it runs, float32.

    `bytes_*` are its parameters, counted as in `Cost`.
    """

    name: str
    kind: str
    out: tuple[int, int, int]
    kernel: int
    stride: int
    macs: int
    macs_attention: int
    params: int
    alive_bytes: int
    bytes_float32: int
    bytes_float16: int
    bytes_int8: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a network at one input size, batch 1.

    `activation_bytes` is the peak over the layers, run in order, of all tensors alive at once, in float32: a layer's
    inputs and output, and the block's input while a residual waits for it. `activation_bytes_int8` has one byte each.
    `bytes_*` are the parameters alone (float32 includes BatchNorm's running statistics; float16 and int8 count the
    folded network: weights at that width, biases in float16 and int32).
    """

    name: str
    input: tuple[int, int, int]
    macs: int
    macs_attention: int
    params: int
    buffers: int
    activation_bytes: int
    activation_bytes_int8: int
    bytes_float32: int
    bytes_float16: int
    bytes_int8: int
    peak_layer: str
    ops: tuple[Op, ...] = field(repr=False)
    alive: tuple[int, ...] = field(repr=False)  # elements in memory while each operation runs

    @property
    def weight_layers(self) -> int:
        """Convolutions and linear layers, depthwise and pointwise ones counted apart."""
        return sum(1 for op in self.ops if op.macs)

    @property
    def depth(self) -> int:
        """Convolutions and linear layers on the longest way from input to output; V1's 28 (section 3.2)."""
        reached = {"input": 0}
        for op in self.ops:
            reached[op.name] = max(reached[name] for name in op.inputs) + bool(op.macs)
        return max(reached.values())

    @property
    def layers(self) -> tuple[LayerCost, ...]:
        """The cost of each layer in the order they run."""
        return tuple(_layer_cost(op, alive) for op, alive in zip(self.ops, self.alive))

    def to_json(self) -> dict[str, Any]:
        """The cost as plain data, layers included."""
        left_out = ("input", "ops", "alive")
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        data["input"] = list(self.input)
        data["resolution"] = self.input[1]
        data["depth"] = self.depth
        data["weight_layers"] = self.weight_layers
        data["layers"] = [asdict(layer) | {"out": list(layer.out)} for layer in self.layers]
        return data


def cost(spec: Spec, *, resolution: int | None = None, size: tuple[int, int] | None = None) -> Cost:
    """The cost of `spec` at its own resolution, another one, or a (height, width) `size`.

    Raises UserError when the input is smaller than a convolution of the network.

    >>> from mobilenets.arch.v1 import mobilenet_v1
    >>> whole = cost(mobilenet_v1())
    >>> whole.macs, whole.params
    (568740352, 4231976)
    """
    height, width = size or (resolution or spec.resolution,) * 2
    ops = graph(spec, height, width)
    alive = live_elements(ops, spec.in_channels * height * width)
    peak = max(alive)
    macs = macs_attention = params = buffers = weights = biases = 0
    for op in ops:
        macs += op.macs
        macs_attention += op.macs_attention
        if op.params:
            params += op.params
            buffers += op.buffers
            weights += op.weights
            biases += op.biases
    return Cost(
        name=spec.name,
        input=(spec.in_channels, height, width),
        macs=macs,
        macs_attention=macs_attention,
        params=params,
        buffers=buffers,
        activation_bytes=4 * peak,
        activation_bytes_int8=peak,
        bytes_float32=4 * (params + buffers),
        bytes_float16=2 * (weights + biases),
        bytes_int8=weights + 4 * biases,
        peak_layer=ops[alive.index(peak)].name,
        ops=tuple(ops),
        alive=tuple(alive),
    )


def live_elements(ops: list[Op], input_elements: int) -> list[int]:
    """For each operation, the elements that must be in memory while it runs: everything made and still needed.

    An operation's own inputs and output are alive together; a tensor dies after the last operation that reads it.
    """
    last_use = {name: index for index, op in enumerate(ops) for name in op.inputs}
    sizes = {"input": input_elements}
    total = input_elements
    result = []
    for index, op in enumerate(ops):
        channels, height, width = op.shape
        sizes[op.name] = made = channels * height * width
        total += made
        result.append(total)
        for name in op.inputs:
            if last_use[name] == index:
                total -= sizes.pop(name, 0)  # gone already where one tensor is both inputs
    return result


def _layer_cost(op: Op, alive: int) -> LayerCost:
    return LayerCost(
        name=op.name,
        kind=op.kind,
        out=op.shape,
        kernel=op.kernel,
        stride=op.stride,
        macs=op.macs,
        macs_attention=op.macs_attention,
        params=op.params,
        alive_bytes=4 * alive,
        bytes_float32=4 * (op.params + op.buffers),
        bytes_float16=2 * (op.weights + op.biases),
        bytes_int8=op.weights + 4 * op.biases,
    )
