"""The table of docs/networks.md is what `cost` says; `tests/docs` runs its examples."""

from __future__ import annotations

import re
from pathlib import Path

from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec

PAGE = Path(__file__).resolve().parents[2] / "docs" / "networks.md"


def test_the_table_of_networks_is_true() -> None:
    rows = re.findall(r"^\| `(mobilenet_\w+)` \| ([^|]+) \| (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \|$",
                      PAGE.read_text(encoding="utf-8"), re.MULTILINE)  # fmt: skip
    assert [row[0] for row in rows] == list(ARCHITECTURES)
    for name, table, resolution, params, macs, megabytes in rows:
        whole = cost(create_spec(name))
        assert ARCHITECTURES[name].source.endswith(f", {table}")
        assert (whole.input[1], whole.params, whole.macs) == tuple(
            int(number.replace(",", "")) for number in (resolution, params, macs)
        )
        assert f"{whole.activation_bytes / 1e6:.2f}" == megabytes
