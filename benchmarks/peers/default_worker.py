"""What a user gets without us, one image after another, in a process that speaks as mobilenets.deploy.worker does.

    python benchmarks/peers/default_worker.py ARM NETWORK SIZE THREADS CORES [FILE]

ARM is eager (our network in PyTorch), torchvision, timm (theirs), keras (its predict) or onnx (FILE, which
torch.onnx.export wrote with its defaults). Float images in the layout of each: uint8 to float is not counted.
"""

import contextlib
import json
import os
import sys
import time

NAMES = {
    "torchvision": {
        "mobilenet_v2": "mobilenet_v2",
        "mobilenet_v3_large": "mobilenet_v3_large",
        "mobilenet_v3_small": "mobilenet_v3_small",
    },
    "timm": {
        "mobilenet_v1": "mobilenetv1_100",
        "mobilenet_v2": "mobilenetv2_100",
        "mobilenet_v3_large": "mobilenetv3_large_100",
        "mobilenet_v3_small": "mobilenetv3_small_100",
        "mobilenet_v4_conv_small": "mobilenetv4_conv_small",
    },
    "keras": {
        "mobilenet_v1": "MobileNet",
        "mobilenet_v2": "MobileNetV2",
        "mobilenet_v3_large": "MobileNetV3Large",
        "mobilenet_v3_small": "MobileNetV3Small",
    },
}


def torch_run(arm, network, size, threads):
    """A function that runs a torch network once, eagerly, float32, channels first, in inference mode."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if arm == "eager":
        from mobilenets.arch.registry import create_spec
        from mobilenets.nn.network import build_network

        made = build_network(create_spec(network, resolution=size, classes=1000))
    else:
        with contextlib.suppress(ImportError):
            import tvshim  # noqa: F401 - lets torchvision import beside a CPU build of torch
        if arm == "timm":
            import timm

            made = timm.create_model(NAMES[arm][network], num_classes=1000)
        else:
            import torchvision

            made = torchvision.models.get_model(NAMES[arm][network], weights=None, num_classes=1000)
    made.eval()
    image = torch.randn(1, 3, size, size)

    def run():
        with torch.inference_mode():
            return made(image)

    return run


def keras_run(network, size):
    """A function that calls a Keras network's predict once."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # its own default, TensorFlow, is not in the peers' environment
    import keras
    import numpy as np

    made = getattr(keras.applications, NAMES["keras"][network])(input_shape=(size, size, 3), weights=None)
    image = np.random.default_rng(0).standard_normal((1, size, size, 3), dtype=np.float32)
    return lambda: made.predict(image, verbose=0)


def onnx_run(file, size, threads):
    """A function that runs a file with a float input in onnxruntime once."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, size, size), dtype=np.float32)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: image})


def resident(field):
    """A line of /proc/self/status in bytes."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field + ":"))


def main(arm, network, size, threads, cores, file=None):
    """Loads, runs once, then one round for each line of stdin until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    before, started = resident("VmHWM"), time.perf_counter()
    if arm == "onnx":
        run = onnx_run(file, int(size), int(threads))
    elif arm == "keras":
        run = keras_run(network, int(size))
    else:
        run = torch_run(arm, network, int(size), int(threads))
    loaded = time.perf_counter()
    run()
    ready = time.perf_counter()
    answer(load_ms=1e3 * (loaded - started), first_run_ms=1e3 * (ready - loaded), start_rss_bytes=before)
    for line in sys.stdin:
        run()
        times, end = [], time.perf_counter() + json.loads(line)["seconds"]
        while not times or time.perf_counter() < end:
            begun = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - begun))
        answer(times_ms=times, peak_rss_bytes=resident("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
