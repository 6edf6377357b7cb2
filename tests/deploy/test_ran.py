"""What runtimes say really ran, read from what they report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mobilenets.deploy.bench import promised
from mobilenets.deploy.runtimes import Ran, executorch_ran, litert_ran, ncnn_ran, onnx_ran, openvino_ran


def _kernel(operator: str, kind: str) -> dict[str, object]:
    args = {"op_name": operator, "input_type_shape": [{kind: [1, 8, 4, 4]}, {"float": [8]}]}
    return {"cat": "Node", "name": f"node_{operator}_kernel_time", "args": args}


def test_onnxruntime_quantisation_that_was_left_unfused() -> None:
    fused = [_kernel("QuantizeLinear", "float"), *[_kernel("QLinearConv", "uint8")] * 5, _kernel("QGemm", "int8")]
    assert onnx_ran.told([*fused, {"cat": "Session", "name": "model_run", "args": {}}]) == {
        "operators": {"QLinearConv": 5, "QuantizeLinear": 1, "QGemm": 1},
        "precisions": {"int8": 6},
        "notes": [],
    }
    left = [_kernel("DequantizeLinear", "int8")] * 3 + [_kernel("FusedConv", "float")] * 2
    assert onnx_ran.told(fused + left)["notes"] == [
        "4 QuantizeLinear and DequantizeLinear run by themselves, not fused into operators",
        "in float32: 2 FusedConv",
    ]


def _operator(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


def test_litert_operators_that_xnnpack_did_not_take() -> None:
    # image 0 -> CONV_2D -> 1 -> CUSTOM -> 2 -> FULLY_CONNECTED -> 3 -> SOFTMAX -> 4; weights 10 and 11
    operators = [
        _operator("CONV_2D", [0, 10], [1]),
        _operator("HASHTABLE", [1], [2]),
        _operator("FULLY_CONNECTED", [2, 11], [3]),
        _operator("SOFTMAX", [3], [4]),
        _operator("DELEGATE", [0, 10], [1]),
        _operator("DELEGATE", [2, 11], [4]),
    ]
    types = {0: "int8", 10: "int8", 2: "float32", 11: "int8"}
    found = litert_ran.of_operators(operators, types)
    assert found["operators"] == {"CONV_2D": 1, "HASHTABLE": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert found["precisions"] == {"int8": 1, "float32": 1}
    assert found["notes"] == [
        "XNNPACK took 3 of 4 operators, not 1 HASHTABLE",
        "1 products with weights of another type than what they multiply",
    ]
    assert litert_ran.taken_by_delegates(operators[:4]) == set()


def test_openvino_types_of_each_operator() -> None:
    rows = [
        ("Input", "u8"),
        ("Const", "f32"),
        *[("Convolution", "u8")] * 3,
        ("FullyConnected", "bf16"),
        ("Reduce", "f32"),
    ]
    assert openvino_ran.of_operators(rows) == {
        "operators": {"Convolution": 3, "FullyConnected": 1, "Reduce": 1},
        "precisions": {"int8": 3, "bfloat16": 1},
        "notes": ["not in int8: 1 FullyConnected in bfloat16"],
    }


def test_executorch_by_the_names_of_a_trace() -> None:
    taken = [
        "Convolution (NHWC, QC8) IGEMM #1",
        "Convolution (NHWC, QC8) IGEMM #2",
        "Fully Connected (NC, F32) GEMM #1",
    ]
    found = executorch_ran.of_names(taken, ["native_call__to_copy.out", "Execute", *taken])
    assert found == {
        "operators": {
            "Convolution (NHWC, QC8) IGEMM": 2,
            "Fully Connected (NC, F32) GEMM": 1,
            "_to_copy.out": 1,
        },
        "precisions": {"int8": 2, "float32": 1},
        "notes": ["not taken by XNNPACK: 1 _to_copy.out"],
    }
    assert executorch_ran.of_names(taken, taken)["notes"] == []


def test_ncnn_types_by_what_its_kernels_have() -> None:
    def layer(kind: str, half: bool) -> SimpleNamespace:
        return SimpleNamespace(type=kind, support_fp16_storage=half, support_bf16_storage=False)

    options = SimpleNamespace(use_fp16_arithmetic=True, use_fp16_storage=True, use_bf16_storage=False)
    layers = [layer("Input", False), layer("Convolution", True), layer("Convolution", False), layer("Pooling", False)]
    found = ncnn_ran.told(SimpleNamespace(layers=lambda: layers, opt=options))
    assert found["operators"] == {"Convolution": 2, "Pooling": 1}
    assert found["precisions"] == {"float16": 1, "float32": 1}


def test_a_file_that_computes_in_another_type_than_its_name_says_so() -> None:
    ran: Ran = {"operators": {"Conv": 3}, "precisions": {"float32": 3}, "notes": []}
    assert promised(ran, "float32") == []
    assert promised(ran, "bfloat16") == ["nothing is computed in bfloat16, but in float32"]
    assert promised({"operators": {}, "precisions": {}, "notes": []}, "int8") == []
