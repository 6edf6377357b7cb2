"""What is installed is what the project says: version, files beside the code, pinned dependencies."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import mobilenets

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_version_is_one() -> None:
    assert PROJECT["project"]["version"] == mobilenets.__version__


def test_every_file_beside_the_code_is_installed() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["mobilenets"]
    source = ROOT / "src" / "mobilenets"
    for path in source.rglob("*"):
        name = path.relative_to(source).as_posix()
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in name:
            fits = [pattern for pattern in patterns if fnmatch.fnmatch(f"/{name}", f"/{pattern}".replace("/**/", "/*"))]
            assert fits, f"{name} fits no pattern of package-data in pyproject.toml"


def test_every_direct_dependency_is_pinned_for_ci() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    stated = [*PROJECT["project"]["dependencies"], *(item for extra in extras for item in extra)]
    names = {normal(re.split(r"[><=!\[;~ ]", item, maxsplit=1)[0]) for item in stated} - {"mobilenets"}
    assert names - {normal(name) for name in PINNED} == set()
    assert next(iter(PINNED)) == "torch"
