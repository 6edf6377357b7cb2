"""Compares imported networks with timm's and torchvision's own: their state dicts, read by us, give their logits.

Neither library is a dependency of this project; run this in an environment that has both (where torchvision's operators
do not load beside a CPU build of torch, put a module `tvshim` that declares them on PYTHONPATH):

    PYTHONPATH=src python benchmarks/peer_weights.py
    PYTHONPATH=src python benchmarks/peer_weights.py --cfgs   # writes timm's defaults for the published weights instead

Each network gets random weights, BatchNorm statistics and layer scales included. It is read by its name and by its
tensors alone (but for those that only a name tells apart: `tf_`, and V4 with pooling), run beside the original on one
random picture, then written back and loaded by the library again. The rows go to benchmarks/results/peer_weights.csv; a
network that is refused has the reason there. Status 1 when a difference is above 1e-4 of the largest logit. The last
line is one line of JSON. About three minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.weights import timm as timm_weights
from mobilenets.weights import torchvision as torchvision_weights
from mobilenets.weights.recognised import Recognised
from mobilenets.weights.timm import networks as timm_networks
from mobilenets.weights.torchvision import dense as torchvision_dense

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "peer_weights.csv"
CFGS = HERE.parent / "src" / "mobilenets" / "weights" / "timm_default_cfgs.csv"
COLUMNS = ("library", "name", "read", "tensors", "max_abs_error", "largest_logit", "written_back", "note")
PICTURE = (1, 3, 161, 224)  # odd and even sides: at stride 2 the paddings differ
TOLERANCE = 1e-4  # of the largest logit


class Row(NamedTuple):
    """A network read in one way."""

    library: str
    name: str
    read: str
    tensors: int = 0
    max_abs_error: float | None = None
    largest_logit: float | None = None
    written_back: str = ""
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the logits agree, or the network was refused."""
        if self.max_abs_error is None or self.largest_logit is None:
            return True
        return self.max_abs_error <= TOLERANCE * self.largest_logit and self.written_back in ("", "equal")


def shake_(model: nn.Module) -> nn.Module:
    """Gives every tensor a random value under which activations keep their size; in evaluation mode."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name.endswith(("running_var", "gamma")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif tensor.ndim > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
        else:
            tensor.uniform_(0.5, 1.5) if name.endswith("weight") else tensor.normal_(0, 0.1)
    return model.eval()


def logits(model: nn.Module, channels: int = 3) -> torch.Tensor:
    """(1, classes) on the random picture's first channels."""
    torch.manual_seed(1)
    with torch.inference_mode():
        return model(torch.randn(PICTURE)[:, :channels])


def network_of(found: Recognised) -> nn.Module:
    """Our network with the tensors that were read."""
    network = build_network(found.spec).eval()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in found.state.items()})
    return network


# timm ----------------------------------------------------------------------------------------------------------------


def timm_rows(timm: Any, folder: Path) -> Iterator[Row]:
    """Every MobileNet of timm by its file's name, by its tensors, and with other settings."""
    for name in timm.list_models("*mobilenet*"):
        if name.startswith(("mobilenetv5", "mobilenet_edgetpu")):
            continue
        model = shake_(timm.create_model(name))
        yield timm_row(timm, name, "by name", model, folder / f"{name}.pth", None)
        if not name.startswith(("tf_", *timm_networks.REFUSED)):
            yield timm_row(timm, name, "by tensors", model, folder / "weights.safetensors", None)
    settings: dict[str, dict[str, Any]] = {
        "mobilenetv3_small_100": {"num_classes": 7, "in_chans": 1},
        "mobilenetv4_hybrid_medium": {"num_classes": 0},
        "mobilenetv2_050": {"num_classes": 1001},
    }
    for name, chosen in settings.items():
        model = shake_(timm.create_model(name, **chosen))
        shown = ", ".join(f"{key}={value}" for key, value in chosen.items())
        yield timm_row(timm, f"{name} ({shown})", "as named", model, folder / "weights.pth", name)


def timm_row(timm: Any, name: str, how: str, model: nn.Module, path: Path, stated: str | None) -> Row:
    """One network read, compared, written and loaded by timm again."""
    save(model, path)
    tensors = len(model.state_dict())
    try:
        found = timm_weights.read(path, stated)
    except UserError as error:
        return Row("timm", name, how, tensors, note=str(error).replace(str(path), path.name))
    channels = found.spec.in_channels
    wanted, got = logits(model, channels), logits(network_of(found), channels)
    back = path.with_name("back.safetensors")
    written = timm_weights.to_timm(found.spec, found.state, back)
    create = written["facts"]["create"]
    again = eval(create, {"timm": timm})  # the Python that `to_timm` says makes the network
    from safetensors.torch import load_file

    again.load_state_dict(load_file(back))
    equal = torch.equal(logits(again.eval(), channels), wanted)
    note = found.facts.get("strides", "")
    error = float((wanted - got).abs().max())
    return Row("timm", name, how, tensors, error, float(wanted.abs().max()), "equal" if equal else "differs", note)


# torchvision ---------------------------------------------------------------------------------------------------------


def torchvision_rows(torchvision: Any, folder: Path) -> Iterator[Row]:
    """torchvision's classifiers at several widths, and the backbones of its detectors and segmentation networks."""
    models = torchvision.models
    for name in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"):
        for width in (0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.4):
            for reduced in (False, True) if "v3" in name else (False,):
                if name == "mobilenet_v2":
                    model = models.mobilenet_v2(width_mult=width)
                else:
                    conf = models.mobilenetv3._mobilenet_v3_conf(name, width_mult=width, reduced_tail=reduced)
                    model = models.MobileNetV3(*conf)
                shown = f"{name} x {width:g}" + (" reduced tail" if reduced else "")
                yield torchvision_row(torchvision, shown, shake_(model), folder)
    for dense in torchvision_dense.DENSE:
        yield backbone_row(torchvision, dense.name, folder)


def torchvision_row(torchvision: Any, name: str, model: nn.Module, folder: Path) -> Row:
    """One classifier read, compared, written and loaded by torchvision again."""
    path = folder / "weights.pth"
    save(model, path)
    found = torchvision_weights.read(path)
    wanted, got = logits(model), logits(network_of(found))
    written = torchvision_weights.to_torchvision(found.spec, found.state, path)
    again = eval(written["facts"]["create"], {"torchvision": torchvision, "torch": torch, "functools": functools})
    again.load_state_dict(torch.load(path, weights_only=True))
    equal = torch.equal(logits(again.eval()), wanted)
    error = float((wanted - got).abs().max())
    return Row(
        "torchvision", name, "by tensors", len(found.used), error, float(wanted.abs().max()),
        "equal" if equal else "differs",
    )  # fmt: skip


def backbone_row(torchvision: Any, name: str, folder: Path) -> Row:
    """The last feature map of a dense network's backbone beside ours."""
    models = torchvision.models
    builders = {
        "ssdlite320_mobilenet_v3_large": models.detection.ssdlite320_mobilenet_v3_large,
        "fasterrcnn_mobilenet_v3_large_fpn": models.detection.fasterrcnn_mobilenet_v3_large_fpn,
        "lraspp_mobilenet_v3_large": models.segmentation.lraspp_mobilenet_v3_large,
        "deeplabv3_mobilenet_v3_large": models.segmentation.deeplabv3_mobilenet_v3_large,
    }
    model = shake_(builders[name](weights=None, weights_backbone=None))
    path = folder / "weights.pth"
    save(model, path)
    found = torchvision_weights.read(path, backbone=True)
    backbone = model.backbone.body if name.startswith("faster") else model.backbone
    backbone = backbone.features if name.startswith("ssd") else backbone
    torch.manual_seed(1)
    picture = torch.randn(PICTURE)
    with torch.inference_mode():
        wanted = backbone(picture)
        wanted = list(wanted.values())[-1] if isinstance(wanted, dict) else wanted
        got = network_of(found).trunk(picture)  # type: ignore[operator]
    error = float((wanted - got).abs().max())
    note = f"last feature map; {len(found.set_aside)} tensors set aside"
    return Row("torchvision", name, "backbone", len(found.used), error, float(wanted.abs().max()), note=note)


def save(model: nn.Module, path: Path) -> None:
    """The model's state dict as a file of its kind."""
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)


# timm's defaults for the published weights ---------------------------------------------------------------------------


def write_cfgs() -> None:
    """Writes the lines of `weights/timm_default_cfgs.csv`."""
    registry = import_module("timm.models._registry")
    with open(CFGS, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("architecture", "tag", "file", "input_size", "crop_pct", "interpolation", "mean", "std", "classes")
        )
        for name in timm_networks.NAMES:
            cfgs = registry._model_default_cfgs[name]
            for tag in cfgs.tags:
                cfg = cfgs.cfgs[tag]
                mean, std = (" ".join(map(str, values)) for values in (cfg.mean, cfg.std))
                file_name = Path(cfg.url or "").name
                writer.writerow(
                    (name, tag, file_name, cfg.input_size[1], cfg.crop_pct, cfg.interpolation, mean, std,
                     cfg.num_classes)
                )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="imported networks beside timm's and torchvision's own")
    parser.add_argument("--cfgs", action="store_true", help="write timm's defaults for the published weights instead")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with contextlib.suppress(ModuleNotFoundError):
        import_module("tvshim")
    torchvision, timm = import_module("torchvision"), import_module("timm")
    if arguments.cfgs:
        write_cfgs()
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in [*timm_rows(timm, Path(folder)), *torchvision_rows(torchvision, Path(folder))]:
            rows.append(row)
    print(f"{'network':52}{'read':>12}{'tensors':>9}{'max error':>12}{'largest':>10}  written back")
    for row in rows:
        numbers = " " * 22
        if row.max_abs_error is not None:
            numbers = f"{row.max_abs_error:12.3g}{row.largest_logit:10.4g}"
        print(f"{row.library} {row.name:40}{row.read:>12}{row.tensors:9}{numbers}  {row.written_back} {row.note}")
    with open(RESULTS, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    failed = [f"{row.library} {row.name} {row.read}" for row in rows if not row.ok]
    refused = sorted({row.name for row in rows if row.max_abs_error is None})
    worst = max((row.max_abs_error or 0) / (row.largest_logit or 1) for row in rows)
    print(json.dumps({"rows": len(rows), "failed": failed, "refused": refused, "worst_relative_error": worst}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
