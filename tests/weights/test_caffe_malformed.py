"""The Caffe reader: malformed files are refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from caffe_writer import blob, caffemodel, chunk

from mobilenets.errors import UserError
from mobilenets.weights import caffe

INPUT = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 '
CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 1 } }'
)
WEIGHTS = caffemodel({"c": [blob(np.ones((2, 3, 1, 1))), blob(np.ones(2))]})


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        (b"", WEIGHTS, "has no layers"),
        (b"\x89PNG\r\n\xff", WEIGHTS, "it is no text"),
        (b"PK\x03\x04 zip", WEIGHTS, "not a prototxt"),
        (b"layer {", WEIGHTS, "not a prototxt"),
        (b"a {" * 5000, WEIGHTS, "not a prototxt"),
        (b'layers { name: "c" type: CONVOLUTION }', WEIGHTS, "before 2015"),
        (CONV.encode(), WEIGHTS, "its inputs are: none"),
        ((INPUT + 'input: "info" ' + CONV).encode(), WEIGHTS, "its inputs are: data, info|the shape of input"),
        (b'input: "data" input_dim: 1 ' + CONV.encode(), WEIGHTS, r"shape of input data .* \[1\]"),
        ((INPUT + CONV.replace('"data"', '"date"')).encode(), WEIGHTS, "takes date"),
        ((INPUT + CONV.replace("num_output: 2", "num_output: 4")).encode(), WEIGHTS, "4 outputs"),
        ((INPUT + CONV.replace("kernel_size: 1", "kernel_size: 3")).encode(), WEIGHTS, "3, 3"),
        ((INPUT + CONV.replace("kernel_size: 1", "kernel_size: 1 stride: 0")).encode(), WEIGHTS, "1 or more"),
        ((INPUT + CONV.replace("kernel_size: 1", "kernel_size: 1 group: 2")).encode(), WEIGHTS, "channels in 2 groups"),
        (
            (INPUT + CONV.replace("num_output: 2", "num_output: 2 bias_term: false")).encode(),
            WEIGHTS,
            "stores 2 tensors",
        ),
        ((INPUT + CONV.replace('"c"', '"d"')).encode(), WEIGHTS, "stores 0 tensors instead of 2"),
        ((INPUT + CONV).encode(), b"", "stores no weights"),
        ((INPUT + CONV).encode(), WEIGHTS[:-3], "cut short"),
        ((INPUT + CONV).encode(), b"\x93NUMPY" * 9, "not a caffemodel"),
        ((INPUT + CONV).encode(), caffemodel({"c": [blob(np.ones(6))[:-4]]}), "not a caffemodel|cut short"),
        ((INPUT + CONV).encode(), chunk(2, b"old"), "before 2015"),
        ((INPUT + CONV).encode(), WEIGHTS + WEIGHTS, "two layers with weights are called c"),
        (
            (INPUT + CONV).encode(),
            caffemodel({"c": [chunk(7, chunk(1, b"\x02\x03")) + chunk(5, bytes(4 * 5))]}),
            r"5 values for the shape \(2, 3\)",
        ),
    ],
)
def test_malformed_files_are_refused_in_one_line(text: bytes, model: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_bytes(text)
    (tmp_path / "net.caffemodel").write_bytes(model)
    with pytest.raises(UserError, match=message) as caught:
        caffe.read(tmp_path / "net.prototxt")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "net.") in str(caught.value)
