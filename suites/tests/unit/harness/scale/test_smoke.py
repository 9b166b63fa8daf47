"""Risk: `harness scale --smoke` stops working, or its store grows where nothing may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import harness.cli


def test_the_smoke_size_from_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        harness.cli.main(["scale", "--smoke", "--reports", str(tmp_path)])
    assert ended.value.code in (0, 1, 3)  # times of so small a size decide nothing
    folder = tmp_path / "scale" / "latest"
    found = json.loads((folder / "growth.json").read_text())["quantities"]
    growth = {one["name"]: one for one in found}
    assert [n for n, _ in growth["check"]["points"]] == [1_000, 3_000, 10_000]
    assert growth["check"]["exponent"] > 0.5  # it looks at every vector
    assert growth["stored"]["exponent"] < 0
    assert (folder / "scale.html").is_file()
