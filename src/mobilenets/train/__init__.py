"""The training loop, its recipe, and the Run folder it leaves.

The package can be called: `mobilenets.train("photos", out="run")` is `mobilenets.train.trainer.train`. A function of
that name beside a package of that name would depend on what was imported first.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> dict[str, Any]:
        from .trainer import train

        return train(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        from .trainer import train

        return inspect.signature(train)


sys.modules[__name__].__class__ = _CallablePackage
