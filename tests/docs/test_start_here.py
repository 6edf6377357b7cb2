"""A stranger who follows docs/start-here.md ends with a Bundle.

Its commands run as they are printed, in order; trainings are cut short.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_pages import ROOT, code_blocks, commands

PAGE = ROOT / "docs" / "start-here.md"
INSTALLING = ("make install", "source .venv/bin/activate")


def cut_short(command: str) -> str:
    """The command as printed, with one epoch for its minutes, fewer pictures, and small ones where nothing is said."""
    small = "" if "--resolution" in command else " --resolution 32"
    return re.sub(r"--minutes \d+", f"--epochs 1{small}", command).replace("images=2400", "images=600")


@pytest.mark.slow
def test_start_here_ends_with_a_bundle(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    printed = [each for block in code_blocks(PAGE) if block.language == "console" for each in commands(block.text)]
    assert tuple(printed[:2]) == INSTALLING
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "photos").symlink_to("hands/images")  # the stranger's own pictures
    beside = str(Path(sys.executable).parent)  # python and mobilenets of this environment, as after `activate`
    known = os.environ | {
        "PATH": f"{beside}{os.pathsep}{os.environ['PATH']}",
        "MOBILENETS_CACHE": str(tmp_path / "cache"),
        "MOBILENETS_KERNELS": "0",  # compiling them takes longer than these trainings
    }
    for command in printed[2:]:
        print(command)  # shown where a step fails or hangs
        ended = subprocess.run(
            ["bash", "-c", cut_short(command)], cwd=folder, env=known, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    for bundle in ("bundle", "my-bundle"):
        assert json.loads((folder / bundle / "measured.json").read_text())["verify"]["ok"]
    assert (folder / "run" / "report.html").is_file()
    assert (folder / "sheet.png").is_file()
