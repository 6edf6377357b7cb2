"""MobileNet V1-V4: from a folder of images and a device budget to a model checked in the very file that ships.

>>> import mobilenets
>>> mobilenets.cost("mobilenet_v1").macs
568740352
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import cost, create_model, plot, train
    from .deploy.bench import bench
    from .deploy.evaluate import evaluate
    from .deploy.export import export
    from .deploy.predict import predict
    from .deploy.prune import prune
    from .deploy.quantize import quantize
    from .deploy.verify import verify
    from .weights.convert import convert

__version__ = "0.1.0"

__all__ = [
    "bench",
    "convert",
    "cost",
    "create_model",
    "evaluate",
    "export",
    "plot",
    "predict",
    "prune",
    "quantize",
    "train",
    "verify",
]

# Imported when first asked for: `import mobilenets` itself takes a few milliseconds and does not load torch.
_HOME = {
    "create_model": "api",
    "cost": "api",
    "plot": "api",
    "train": "api",
    "evaluate": "deploy.evaluate",
    "predict": "deploy.predict",
    "prune": "deploy.prune",
    "quantize": "deploy.quantize",
    "export": "deploy.export",
    "verify": "deploy.verify",
    "bench": "deploy.bench",
    "convert": "weights.convert",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
