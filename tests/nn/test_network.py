"""Every architecture keeps the same contract: forward, features, embed, reset_head, dense strides, layouts, types."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mobilenets.arch import adapt
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import ACTIVATIONS, Activation, Profile, Spec
from mobilenets.errors import UserError
from mobilenets.nn.network import Network, build_network

every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)
MakeNetwork = Callable[..., Network]


@pytest.fixture(scope="module")
def make() -> MakeNetwork:
    """Narrow networks by name and settings, their statistics measured on noise; a copy each time."""
    made: dict[Spec, Network] = {}

    def make_one(name: str, **settings: object) -> Network:
        spec = create_spec(name, **{"width": 0.25, "resolution": 64, "classes": 7, **settings})  # type: ignore[arg-type]
        if spec not in made:
            made[spec] = fresh(spec)
            calibrate_(made[spec])
        return copy.deepcopy(made[spec]).eval()

    return make_one


def fresh(spec: Spec) -> Network:
    """The network of a Spec with the weights of seed 0."""
    torch.manual_seed(0)
    return build_network(spec).eval()


def calibrate_(network: Network) -> None:
    """Gives BatchNorm and layer scale values of trained size in place, so that outputs depend on every layer."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        nn.init.uniform_(module.weight, 0.8, 1.2)
        nn.init.normal_(module.bias, std=0.1)
    for name, parameter in network.named_parameters():
        if name.endswith("layer_scale.gamma"):
            nn.init.uniform_(parameter, 0.5, 1.0)
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 1.0
    with torch.no_grad():
        network.train()(images(6, network.spec.in_channels, 64, 64))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


@every_architecture
@pytest.mark.parametrize("profile", ["default", "authors"])
def test_batches_of_one_odd_sizes_and_the_smallest_input(name: str, profile: Profile, make: MakeNetwork) -> None:
    network = make(name, profile=profile)
    with torch.inference_mode():
        for shape in ((1, 3, 64, 64), (3, 3, 32, 32), (2, 3, 16, 17), (2, 3, 33, 71), (1, 3, 97, 40)):
            logits = network(images(*shape))
            assert logits.shape == (shape[0], 7)
            assert logits.isfinite().all()


@every_architecture
@pytest.mark.parametrize("in_channels", [1, 4])
def test_input_channels(name: str, in_channels: int) -> None:
    network = fresh(create_spec(name, width=0.25, classes=7, in_channels=in_channels))
    with torch.inference_mode():
        assert network(images(2, in_channels, 32, 32)).shape == (2, 7)


@every_architecture
def test_a_batch_gives_what_its_images_give_alone(name: str, make: MakeNetwork) -> None:
    network, batch = make(name), images(3, 3, 48, 48)
    with torch.inference_mode():
        together = network(batch)
        alone = torch.cat([network(image[None]) for image in batch])
    assert close(together, alone)
    assert not torch.allclose(together[0], together[1])


@every_architecture
@pytest.mark.parametrize("profile", ["default", "authors"])
def test_every_parameter_gets_a_gradient(name: str, profile: Profile) -> None:
    torch.manual_seed(0)
    network = build_network(create_spec(name, width=0.25, resolution=64, classes=5, profile=profile)).train()
    loss = nn.functional.cross_entropy(network(images(4, 3, 64, 64)), torch.tensor([0, 1, 2, 3]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    without = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.abs().sum() > 0]
    assert not without


@every_architecture
@pytest.mark.parametrize("profile", ["default", "authors"])
def test_features_are_what_the_taps_promise(name: str, profile: Profile, make: MakeNetwork) -> None:
    network = make(name, profile=profile)
    height, width = 71, 96
    with torch.inference_mode():
        found = network.features(images(2, 3, height, width))
    assert list(found) == [tap.name for tap in network.taps]
    for tap in network.taps:
        side = (math.ceil(height / tap.stride), math.ceil(width / tap.stride))
        assert found[tap.name].shape == (2, tap.channels, *side)


@every_architecture
def test_features_of_some_taps_equal_those_of_all_and_stop_early(name: str, make: MakeNetwork) -> None:
    network, batch = make(name), images(1, 3, 64, 64)
    with torch.inference_mode():
        whole = network.features(batch)
        some = network.features(batch, ["c4", "c2"])
        assert list(some) == ["c2", "c4"]
        assert all(torch.equal(some[key], whole[key]) for key in some)
        assert network.features(batch, []) == {}
    ran: list[int] = []
    for index, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    last = next(index for index, block in enumerate(network.spec.blocks) if block.tap == "c2")
    with torch.inference_mode():
        network.features(batch, ["c2"])
    assert ran == list(range(last + 1))


def test_an_unknown_tap_is_one_line(make: MakeNetwork) -> None:
    with pytest.raises(UserError, match=r"^no feature map 'p3' in mobilenet_v2_025; allowed: c1, c2, c3, c4, c5$"):
        make("mobilenet_v2").features(images(1, 3, 64, 64), ["p3"])


@every_architecture
def test_embed_feeds_the_classifier(name: str, make: MakeNetwork) -> None:
    network, batch = make(name), images(2, 3, 64, 64)
    assert network.head.classifier is not None
    with torch.inference_mode():
        embedding = network.embed(batch)
        assert embedding.shape == (2, network.spec.head.c_embedding)
        assert torch.equal(network.head.classifier(embedding), network(batch))
        assert torch.equal(network.head(network.trunk(batch)), network(batch))
    headless = fresh(adapt.with_classes(network.spec, 0))
    with torch.inference_mode():
        assert headless(batch).shape == embedding.shape


@every_architecture
def test_reset_head_changes_the_classifier_alone(name: str, make: MakeNetwork) -> None:
    network, batch = make(name), images(2, 3, 64, 64)
    before = {key: value.clone() for key, value in network.state_dict().items() if "classifier" not in key}
    with torch.inference_mode():
        embedding = network.embed(batch)
    network.reset_head(3, background=True)
    assert network.spec.head.classes == 3
    with torch.inference_mode():
        assert network(batch).shape == (2, 4)
        assert torch.equal(network.embed(batch), embedding)
    assert network.spec == adapt.with_classes(make(name).spec, 3, background=True)
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert build_network(network.spec).state_dict().keys() == after.keys()
    network.reset_head(0)
    with torch.inference_mode():
        assert torch.equal(network(batch), embedding)
    network.reset_head(2)
    with torch.inference_mode():
        assert network(batch).shape == (2, 2)


def test_reset_head_keeps_type_and_refuses_nonsense(make: MakeNetwork) -> None:
    network = make("mobilenet_v3_small").to(torch.float64)
    network.reset_head(4)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float64}
    with pytest.raises(UserError, match="classes -3 is out of range"):
        network.reset_head(-3)
    with pytest.raises(TypeError, match="num_classes"):
        network.reset_head(num_classes=3)  # type: ignore[call-arg]


@every_architecture
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_with_the_same_weights(name: str, output_stride: int, make: MakeNetwork) -> None:
    network = make(name)
    dense = fresh(adapt.with_output_stride(network.spec, output_stride))
    dense.load_state_dict(network.state_dict())
    batch = images(1, 3, 64, 96)
    with torch.inference_mode():
        assert dense(batch).shape == network(batch).shape
        found, plain = dense.features(batch), network.features(batch)
        assert dense.trunk(batch).shape[2:] == (64 // output_stride, 96 // output_stride)
    for tap in dense.taps:
        assert tap.stride == min(output_stride, {t.name: t.stride for t in network.taps}[tap.name])
        assert found[tap.name].shape[2:] == (64 // tap.stride, 96 // tap.stride)
        if tap.stride < output_stride:
            assert torch.equal(found[tap.name], plain[tap.name])
    if output_stride == 32:
        assert torch.equal(found["c5"], plain["c5"])


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v4_conv_medium"])
def test_dilation_computes_the_strided_values_between_others(name: str, make: MakeNetwork) -> None:
    """Away from the border, every second value of a dilated stride-16 map is the stride-32 map's."""
    network = make(name)
    dense = fresh(adapt.with_output_stride(network.spec, 16))
    for module in (network, dense):  # squeeze-and-excite pools over the whole map, which dilation changes
        for part in module.modules():
            if hasattr(part, "se"):
                part.se = nn.Identity()
    dense.load_state_dict(network.state_dict())
    batch = images(1, 3, 1024, 1024)
    with torch.inference_mode():
        sparse, full = network.features(batch, ["c5"])["c5"], dense.features(batch, ["c5"])["c5"]
    inner = slice(12, 20)
    assert close(full[..., ::2, ::2][..., inner, inner], sparse[..., inner, inner], 1e-3)


@every_architecture
def test_channels_last_gives_the_same_values(name: str, make: MakeNetwork) -> None:
    network, batch = make(name), images(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network(batch)
        network.to(memory_format=torch.channels_last)
        assert close(network(batch.to(memory_format=torch.channels_last)), expected)


@every_architecture
def test_bfloat16_autocast_runs_forward_and_backward(name: str, make: MakeNetwork) -> None:
    """Early features agree to bfloat16's three digits; deep random networks amplify the rest, so logits are finite."""
    network, batch = make(name), images(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network.features(batch, ["c2"])["c2"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network.features(batch, ["c2"])["c2"].float()
    assert (found - expected).norm() <= 0.03 * expected.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(batch)
        loss = logits.float().square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if "large" not in name or "_v3_" in name])
def test_every_activation_runs(name: str, act: Activation) -> None:
    """V4's large networks are left out: their blocks are those of the others."""
    network = fresh(create_spec(name, width=0.25, activation=act))
    with torch.inference_mode():
        assert network(images(1, 3, 32, 32)).isfinite().all()


@every_architecture
def test_background_has_one_more_output_in_front(name: str) -> None:
    network = fresh(create_spec(name, width=0.25, classes=7, background=True))
    with torch.inference_mode():
        assert network(images(1, 3, 32, 32)).shape == (1, 8)
    assert network.spec.head.classes == 7


def test_dropout_acts_in_training_alone() -> None:
    network = build_network(create_spec("mobilenet_v1", width=0.25, resolution=32, classes=50, dropout=0.9))
    network.eval()
    batch = images(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(batch), network(batch))
        network.head.train()
        assert not torch.equal(network(batch), network(batch))


def test_the_state_dict_names_are_the_graphs_names(make: MakeNetwork) -> None:
    names = make("mobilenet_v3_small").state_dict().keys()
    assert {"blocks.0.conv.conv.weight", "blocks.2.expand.norm.running_mean", "blocks.1.se.reduce.bias"} <= names
    assert {"head.hidden.conv.bias", "head.classifier.weight"} <= names


def test_misspelt_arguments_raise() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        build_network(create_spec("mobilenet_v1"), classes=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_makes_the_same_weights(seed: int) -> None:
    spec = create_spec("mobilenet_v4_conv_small", width=0.25)
    torch.manual_seed(seed)
    first = build_network(spec).state_dict()
    torch.manual_seed(seed)
    second = build_network(spec).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
