"""The part of Caffe's protobuf schema that a network is read from, built at run time: no compiler, no generated code.

Names, numbers and defaults are those of `src/caffe/proto/caffe.proto` in BVLC/caffe. A file's other fields are skipped
by the protobuf library itself, so that files of Caffe's many forks are read too.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from ...errors import UserError


class Field(NamedTuple):
    name: str
    number: int
    type: str  # a scalar type of protobuf, or the name of a message or an enumeration below
    repeated: bool = False
    default: str = ""


class Enum(NamedTuple):
    name: str
    within: str  # the one message that uses it: the values of two enumerations in one scope may not share a name
    values: tuple[str, ...]  # numbered from 0


ENUMS = (
    Enum("Phase", "NetStateRule", ("TRAIN", "TEST")),
    Enum("EltwiseOp", "EltwiseParameter", ("PROD", "SUM", "MAX")),
    Enum("PoolMethod", "PoolingParameter", ("MAX", "AVE", "STOCHASTIC")),
)

MESSAGES: dict[str, tuple[Field, ...]] = {
    "BlobShape": (Field("dim", 1, "int64", repeated=True),),
    "BlobProto": (
        Field("num", 1, "int32"),
        Field("channels", 2, "int32"),
        Field("height", 3, "int32"),
        Field("width", 4, "int32"),
        Field("data", 5, "float", repeated=True),
        Field("shape", 7, "BlobShape"),
        Field("double_data", 8, "double", repeated=True),
    ),
    # A caffemodel: only what carries weights. The forks number their layers' parameters differently, and the prototxt,
    # which names them, states them anyway.
    "StoredLayer": (Field("name", 1, "string"), Field("type", 2, "string"), Field("blobs", 7, "BlobProto", True)),
    "StoredNet": (
        Field("name", 1, "string"),
        Field("layers", 2, "bytes", repeated=True),  # V1LayerParameter, before 2014
        Field("layer", 100, "StoredLayer", repeated=True),
    ),
    "NetParameter": (
        Field("name", 1, "string"),
        Field("input", 3, "string", repeated=True),
        Field("input_dim", 4, "int32", repeated=True),
        Field("input_shape", 8, "BlobShape", repeated=True),
        Field("layer", 100, "LayerParameter", repeated=True),
    ),
    "LayerParameter": (
        Field("name", 1, "string"),
        Field("type", 2, "string"),
        Field("bottom", 3, "string", repeated=True),
        Field("top", 4, "string", repeated=True),
        Field("include", 8, "NetStateRule", repeated=True),
        Field("exclude", 9, "NetStateRule", repeated=True),
        Field("transform_param", 100, "TransformationParameter"),
        Field("convolution_param", 106, "ConvolutionParameter"),
        Field("eltwise_param", 110, "EltwiseParameter"),
        Field("inner_product_param", 117, "InnerProductParameter"),
        Field("pooling_param", 121, "PoolingParameter"),
        Field("power_param", 122, "PowerParameter"),
        Field("relu_param", 123, "ReLUParameter"),
        Field("softmax_param", 125, "SoftmaxParameter"),
        Field("reshape_param", 133, "ReshapeParameter"),
        Field("flatten_param", 135, "FlattenParameter"),
        Field("batch_norm_param", 139, "BatchNormParameter"),
        Field("bias_param", 141, "BiasParameter"),
        Field("scale_param", 142, "ScaleParameter"),
        Field("input_param", 143, "InputParameter"),
        Field("clip_param", 148, "ClipParameter"),
    ),
    "NetStateRule": (
        Field("phase", 1, "Phase"),
        Field("min_level", 2, "int32"),
        Field("max_level", 3, "int32"),
        Field("stage", 4, "string", repeated=True),
        Field("not_stage", 5, "string", repeated=True),
    ),
    "TransformationParameter": (
        Field("scale", 1, "float", default="1"),
        Field("crop_size", 3, "uint32"),
        Field("mean_file", 4, "string"),
        Field("mean_value", 5, "float", repeated=True),
    ),
    "ConvolutionParameter": (
        Field("num_output", 1, "uint32"),
        Field("bias_term", 2, "bool", default="true"),
        Field("pad", 3, "uint32", repeated=True),
        Field("kernel_size", 4, "uint32", repeated=True),
        Field("group", 5, "uint32", default="1"),
        Field("stride", 6, "uint32", repeated=True),
        Field("pad_h", 9, "uint32"),
        Field("pad_w", 10, "uint32"),
        Field("kernel_h", 11, "uint32"),
        Field("kernel_w", 12, "uint32"),
        Field("stride_h", 13, "uint32"),
        Field("stride_w", 14, "uint32"),
        Field("axis", 16, "int32", default="1"),
        Field("dilation", 18, "uint32", repeated=True),
    ),
    "EltwiseParameter": (
        Field("operation", 1, "EltwiseOp", default="SUM"),
        Field("coeff", 2, "float", repeated=True),
    ),
    "InnerProductParameter": (
        Field("num_output", 1, "uint32"),
        Field("bias_term", 2, "bool", default="true"),
        Field("axis", 5, "int32", default="1"),
        Field("transpose", 6, "bool"),
    ),
    "PoolingParameter": (
        Field("pool", 1, "PoolMethod", default="MAX"),
        Field("kernel_size", 2, "uint32"),
        Field("stride", 3, "uint32", default="1"),
        Field("pad", 4, "uint32"),
        Field("kernel_h", 5, "uint32"),
        Field("kernel_w", 6, "uint32"),
        Field("stride_h", 7, "uint32"),
        Field("stride_w", 8, "uint32"),
        Field("pad_h", 9, "uint32"),
        Field("pad_w", 10, "uint32"),
        Field("global_pooling", 12, "bool"),
    ),
    "PowerParameter": (
        Field("power", 1, "float", default="1"),
        Field("scale", 2, "float", default="1"),
        Field("shift", 3, "float"),
    ),
    "ReLUParameter": (Field("negative_slope", 1, "float"),),
    "SoftmaxParameter": (Field("axis", 2, "int32", default="1"),),
    "ReshapeParameter": (
        Field("shape", 1, "BlobShape"),
        Field("axis", 2, "int32"),
        Field("num_axes", 3, "int32", default="-1"),
    ),
    "FlattenParameter": (Field("axis", 1, "int32", default="1"), Field("end_axis", 2, "int32", default="-1")),
    "BatchNormParameter": (Field("use_global_stats", 1, "bool"), Field("eps", 3, "float", default="1e-05")),
    "BiasParameter": (Field("axis", 1, "int32", default="1"), Field("num_axes", 2, "int32", default="1")),
    "ScaleParameter": (
        Field("axis", 1, "int32", default="1"),
        Field("num_axes", 2, "int32", default="1"),
        Field("bias_term", 4, "bool"),
    ),
    "InputParameter": (Field("shape", 1, "BlobShape", repeated=True),),
    "ClipParameter": (Field("min", 1, "float"), Field("max", 2, "float")),
}


@cache
def message_classes() -> SimpleNamespace:
    """The message classes by name: `message_classes().NetParameter`. Raises UserError where protobuf is missing."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise UserError('reading Caffe files needs protobuf: pip install "mobilenets[weights]"') from None
    file = descriptor_pb2.FileDescriptorProto(name="caffe_network.proto", package="caffe_network", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for each in fields:
            _add_field(message, each, descriptor_pb2.FieldDescriptorProto)
        for enum in ENUMS:
            if enum.within == name:
                described = message.enum_type.add(name=enum.name)
                for number, value in enumerate(enum.values):
                    described.value.add(name=value, number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return SimpleNamespace(
        **{
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe_network.{name}"))
            for name in MESSAGES
        }
    )


def _add_field(message: Any, field: Field, kinds: Any) -> None:
    """Adds the field to a message's descriptor (a `DescriptorProto`, in place)."""
    described = message.field.add(
        name=field.name, number=field.number, label=kinds.LABEL_REPEATED if field.repeated else kinds.LABEL_OPTIONAL
    )
    if field.type in MESSAGES:
        described.type, described.type_name = kinds.TYPE_MESSAGE, f".caffe_network.{field.type}"
    elif any(field.type == enum.name for enum in ENUMS):
        described.type, described.type_name = kinds.TYPE_ENUM, f".caffe_network.{message.name}.{field.type}"
    else:
        described.type = getattr(kinds, f"TYPE_{field.type.upper()}")
    if field.default:
        described.default_value = field.default
    if field.repeated and field.type in ("float", "double", "int64"):
        described.options.packed = True
