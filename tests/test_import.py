"""What `import mobilenets` brings in, and what it leaves for later."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import mobilenets

HEAVY = ("torch", "numpy", "cv2", "onnx", "onnxruntime", "tyro", "rich")


def python(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_brings_in_nothing_heavy() -> None:
    assert python(f"import sys, mobilenets; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_the_cost_of_a_network_needs_no_torch() -> None:
    code = "import sys, mobilenets; print(mobilenets.cost('mobilenet_v1').macs, 'torch' in sys.modules)"
    assert python(code) == "568740352 False"


@pytest.mark.parametrize("name", mobilenets.__all__)
def test_every_public_name_is_a_documented_function_without_catch_alls(name: str) -> None:
    function = getattr(mobilenets, name)
    assert callable(function)
    assert function.__doc__
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert name in dir(mobilenets)


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'mobilenets' has no attribute 'trian'"):
        mobilenets.trian  # noqa: B018


def test_a_misspelt_argument_raises() -> None:
    with pytest.raises(TypeError, match="clases"):
        mobilenets.create_model("mobilenet_v1", clases=5)
    with pytest.raises(TypeError, match="epoch"):
        mobilenets.train("data", epoch=5)


def test_a_network_made_by_name() -> None:
    network = mobilenets.create_model("mobilenet_v2", width=0.5, classes=7, in_channels=1)
    assert network.spec.head.classes == 7
    assert sum(p.numel() for p in network.parameters()) == mobilenets.cost(network.spec).params
