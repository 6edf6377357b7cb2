"""One arm of benchmarks/train_step.py: a process that makes networks and trains them a step whenever it is asked.

Reads an arm as JSON from its argument, then one JSON request a line from stdin, and answers each with one line:
{"do": "load", "network": ..., "size": ..., "batch": ...} -> {"parameters": ...}; {"do": "step"} -> {"seconds": ...};
{"do": "memory"} -> {"bytes": ...}; {"do": "profile"} -> {"parts": {...}}.
"""

import contextlib
import ctypes
import json
import os
import sys
import time

import torch
from torch.nn import functional as F

NAMES = {
    "timm": {
        "v1": "mobilenetv1_100",
        "v2": "mobilenetv2_100",
        "v3_large": "mobilenetv3_large_100",
        "v4_conv_small": "mobilenetv4_conv_small",
    },
    "torchvision": {"v2": "mobilenet_v2", "v3_large": "mobilenet_v3_large"},
    "keras": {"v1": "MobileNet", "v2": "MobileNetV2", "v3_large": "MobileNetV3Large"},
}


def make(library, network):
    """The network of a library with a thousand classes, in training; None where it has none."""
    if library == "ours":
        from mobilenets.arch.registry import create_spec
        from mobilenets.nn.network import build_network

        return build_network(create_spec(f"mobilenet_{network}", classes=1000))
    name = NAMES[library].get(network)
    if name is None:
        return None
    with contextlib.suppress(ImportError):
        import tvshim  # noqa: F401 - lets torchvision import beside a CPU build of torch
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=1000)
    import torchvision

    return torchvision.models.get_model(name, weights=None, num_classes=1000)


class TorchArm:
    """A torch network, its optimiser and a batch of noise."""

    def __init__(self, arm):
        self.arm, self.device = arm, torch.device(arm["device"])

    def load(self, network, size, batch):
        """Makes the network; the number of its parameters, or None."""
        torch.manual_seed(0)
        layout = torch.channels_last if self.arm["layout"] == "channels_last" else torch.contiguous_format
        made = make(self.arm["library"], network)
        if made is None:
            return None
        made = made.to(self.device, memory_format=layout).train()
        self.optimiser = torch.optim.AdamW(made.parameters(), lr=1e-3, foreach=True)
        self.parameters = sum(p.numel() for p in made.parameters())
        self.network = torch.compile(made) if self.arm["compile"] else made
        self.images = torch.randn(batch, 3, size, size, device=self.device).contiguous(memory_format=layout)
        self.labels = torch.arange(batch, device=self.device) % 1000
        return self.parameters

    def train(self):
        """One step: zero_grad, forward, loss, backward, update."""
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.arm["precision"] == "bfloat16"):
            logits = self.network(self.images)
        loss = F.cross_entropy(logits.float(), self.labels)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def profile(self):
        """Milliseconds by operator of one step."""
        with torch.profiler.profile() as profiler:
            self.train()
        parts = {event.key: event.self_cpu_time_total / 1e3 for event in profiler.key_averages()}
        return dict(sorted(parts.items(), key=lambda item: -item[1])[:25])


class KerasArm(TorchArm):
    """A Keras network as Keras trains it: compile and train_on_batch."""

    def load(self, network, size, batch):
        """Makes the network; the number of its parameters, or None."""
        import keras
        import numpy as np

        name = NAMES["keras"].get(network)
        if name is None:
            return None
        keras.utils.set_random_seed(0)
        policy = "mixed_bfloat16" if self.arm["precision"] == "bfloat16" else "float32"
        keras.mixed_precision.set_global_policy(policy)
        self.network = getattr(keras.applications, name)(
            input_shape=(size, size, 3), weights=None, classes=1000, classifier_activation=None
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.network.compile(keras.optimizers.AdamW(1e-3), loss)  # jit_compile: what the backend takes by itself
        self.images = np.random.default_rng(0).standard_normal((batch, size, size, 3), dtype=np.float32)
        self.labels = np.arange(batch) % 1000
        return self.network.count_params()

    def train(self):
        """One step."""
        return float(self.network.train_on_batch(self.images, self.labels))


def resident(field):
    """A line of /proc/self/status in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def measure_bytes(arm, device):
    """What one step adds: by CUDA's counter, or the growth of the peak resident memory, free memory trimmed before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        arm.train()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = resident("VmRSS")
    arm.train()
    return resident("VmHWM") - before


def main():
    """Answers until stdin ends."""
    arm = json.loads(sys.argv[1])
    if arm["threads"]:
        torch.set_num_threads(arm["threads"])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    device = torch.device(arm["device"])
    runner = KerasArm(arm) if arm["library"].startswith("keras") else TorchArm(arm)
    if arm["kept_memory"]:  # what mobilenets.nn.kernels.memory.kept_memory does, for peers too
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)
        libc.mallopt(-1, 2**31 - 1)
    for line in sys.stdin:
        request = json.loads(line)
        reply = {}
        if request["do"] == "load":
            reply["parameters"] = runner.load(request["network"], request["size"], request["batch"])
        elif request["do"] == "step":
            clock = time.process_time if arm["cpu_time"] else time.perf_counter
            began = clock()
            reply["loss"] = runner.train()
            if device.type == "cuda":
                torch.cuda.synchronize()
            reply["seconds"] = clock() - began
        elif request["do"] == "memory":
            reply["bytes"] = measure_bytes(runner, device)
        elif request["do"] == "profile":
            reply["parts"] = runner.profile()
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
