"""Writes keras.applications' MobileNets with random weights as TFLite files, by TensorFlow's own converter.

    python tflite_from_keras.py FOLDER [NAME...]      # an environment with tensorflow-cpu

Each network as float32, with float16 and with int8 weights, and wholly int8. Then, in the project's environment,
`mobilenets weights convert FILE --out RUN` for each proves the import against LiteRT.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

A = tf.keras.applications
RAW = {"include_preprocessing": False, "classifier_activation": None}
NETWORKS = {
    "v1_050": (A.MobileNet, 96, {"alpha": 0.5}),
    "v2_035": (A.MobileNetV2, 96, {"alpha": 0.35}),
    "v3_small": (A.MobileNetV3Small, 96, {}),
    "v3_small_minimal": (A.MobileNetV3Small, 96, {"minimalistic": True, "classes": 1001}),
    "v3_large_075": (A.MobileNetV3Large, 128, {"alpha": 0.75}),
    "v3_large_logits": (A.MobileNetV3Large, 128, {"classes": 10, **RAW}),
}


def main():
    """Writes every file that is not there."""
    folder, *names = sys.argv[1:]
    for name in names or NETWORKS:
        build, side, settings = NETWORKS[name]
        for kind in ("float32", "float16", "int8_weights", "int8"):
            path = os.path.join(folder, f"{name}_{kind}.tflite")
            if not os.path.exists(path):
                written = converted(randomised(build(input_shape=(side, side, 3), weights=None, **settings)), kind)
                with open(path, "wb") as file:
                    file.write(written)
                print(path, flush=True)


def randomised(model):
    """The model with BatchNorm statistics that are no identity."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            shape = layer.get_weights()[0].shape
            drawn = [rng.uniform(0.7, 1.3, shape), rng.normal(0, 0.2, shape), rng.normal(0, 0.2, shape)]
            layer.set_weights([*drawn, rng.uniform(0.5, 1.5, shape)])
    return model


def converted(model, kind):
    """The bytes of a TFLite file."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        pixels = np.random.default_rng(1).integers(0, 256, (8, 1, *model.input_shape[1:])).astype("float32")
        rescales = any(isinstance(layer, tf.keras.layers.Rescaling) for layer in model.layers)
        converter.representative_dataset = lambda: ([x if rescales else x / 127.5 - 1] for x in pixels)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


if __name__ == "__main__":
    main()
