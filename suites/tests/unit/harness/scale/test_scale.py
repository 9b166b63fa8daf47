"""Risk: a size is measured on wrong answers, forgotten, or fills the disk of who asked for it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from harness.errors import EvidenceError, HarnessError, UsageError
from harness.progress import Progress
from harness.report.quantity import format_quantity
from harness.scale import actions
from harness.scale import run as run_module
from harness.scale.commands import scale, show_scale
from harness.scale.content import POOL, Content, documents_of, key_of
from harness.scale.growth import QUANTITIES
from harness.scale.page import write_scale_page
from harness.scale.peak import AnonymousPeak
from harness.scale.run import (
    BYTES_A_VALUE,
    ScaleOptions,
    disk_wanted,
    measure_scale,
    sizes_up_to,
)


class Told(Progress):
    """What a run said of itself."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, steps: int) -> None:
        self.stages.append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)


SIZES = (300, 400, 500)


def small(reports: Path) -> ScaleOptions:
    return dataclasses.replace(ScaleOptions.smoke(reports), sizes=SIZES, gets=400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run over three small sizes leaves."""
    made = measure_scale(small(tmp_path_factory.mktemp("scale")), Progress())
    assert show_scale(made) in (0, 1, 3)  # times of so small a size decide nothing
    return made


def test_each_size_is_measured_and_no_store_is_left(folder: Path) -> None:
    document = json.loads((folder / "scale.json").read_text())
    assert tuple(one["vectors"] for one in document["sizes"]) == SIZES
    growth = json.loads((folder / "growth.json").read_text())
    for one in growth["quantities"]:
        assert tuple(n for n, _ in one["points"]) == SIZES, one["name"]
        assert one["unit"] == "B" or one["exponent"] is not None, one["name"]
    for size in document["sizes"]:
        (process,) = size["processes"]
        assert process["left"] == [_left(size["vectors"])]
        assert process["dead_b"] == [0]
        assert size["evidence"] == "synthetic"
    assert not (folder / "store").exists()


def _left(vectors: int) -> int:
    documents = documents_of(vectors)
    return sum(
        last - first
        for place, (_, first, last) in enumerate(documents)
        if place % 5 >= actions.DELETED_OF_5
    )


def test_the_page_says_it_all_and_fetches_nothing(folder: Path) -> None:
    text = (folder / "scale.html").read_text()
    assert text.count("<svg") == 5
    assert "http" not in text.replace("http-equiv", "")
    for one in json.loads((folder / "growth.json").read_text())["quantities"]:
        assert one["words"] in text
    for quantity in QUANTITIES:
        assert quantity.title in text
    assert "smoke size" in text


def test_legends_leave_room_for_the_axes_and_axes_have_ticks(folder: Path) -> None:
    """Long titles once pressed the axes of memory to a fifth of the figure."""
    for figure in (folder / "scale.html").read_text().split("<svg")[1:]:
        (width,) = re.findall(r'viewBox="0 0 (\S+) ', figure)
        (sides,) = re.findall(r'<g id="\w+-patch_2">\s*<path d="M (\S+) \S+ +L (\S+) ', figure)
        assert float(sides[1]) - float(sides[0]) > 0.7 * float(width)
        assert len(re.findall(r'id="\w+-ytick_\d+"', figure)) > 1


def test_each_figure_stands_at_its_own_size(folder: Path, tmp_path: Path) -> None:
    """What a size lacks is said there, and moves no figure of another one."""
    document = json.loads((folder / "scale.json").read_text())
    for place, size in enumerate(document["sizes"]):
        for process in size["processes"]:
            process.pop("update_s" if place == 1 else "nothing", None)
            process["put_s"] = [[1.0], [2.0], [3.0]][place]
            process.pop("open_s" if place != 2 else "nothing", None)
    (tmp_path / "scale.json").write_text(json.dumps(document))
    page, _, found = write_scale_page(tmp_path)
    updates = {
        n: value for one in found if one.quantity.name == "update_p50" for n, value in one.points
    }
    rows = re.findall(
        r'scope="row">[^<]*</th>(<td role="cell" data-label="get, p50">.*?)</tr>', page.read_text()
    )
    cells = [dict(re.findall(r'data-label="([^"]*)">([^<]*)</td>', row)) for row in rows]
    assert [row["put, a vector, p50"] for row in cells] == ["1.00 s", "2.00 s", "3.00 s"]
    assert [row["update of a document, p50"] for row in cells] == [
        format_quantity(updates[SIZES[0]], "s"),
        "not measured",
        format_quantity(updates[SIZES[2]], "s"),
    ]
    assert [row["open to read"] == "not measured" for row in cells] == [True, True, False]


def test_what_is_done_is_kept_and_what_is_missing_is_made(folder: Path) -> None:
    (folder / "parts" / "300.json").unlink()
    told = Told()
    assert measure_scale(small(folder.parents[1]), told) == folder
    assert told.stages == ["300 vectors"]
    assert len(told.notes) == 2


def test_a_wrong_answer_is_no_figure(tmp_path: Path) -> None:
    content = Content(8, 1)
    job: dict[str, Any] = {"dimension": 8, "content_seed": 2}
    subject: Any = SimpleNamespace(get=lambda _: content.row(0))
    with pytest.raises(AssertionError, match="vector 0 differs"):
        actions._compare(job, subject, [0])


def test_a_worker_that_fails_is_said_and_leaves_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_ACTIONS", "harness.scale.nothing")
    with pytest.raises(HarnessError, match="300 vectors"):
        measure_scale(small(tmp_path), Progress())
    (made,) = (path for path in (tmp_path / "scale").iterdir() if path.is_dir())
    assert not (made / "store").exists()
    assert not list((made / "parts").iterdir())


def test_too_little_disk_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(free=5 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    options = ScaleOptions(reports=tmp_path, sizes=sizes_up_to(10_000_000))
    with pytest.raises(UsageError, match=r"10000000 vectors need 28\.\d GB .* 5\.0 GB are free"):
        measure_scale(options, Progress())
    assert not list(tmp_path.rglob("store"))
    assert disk_wanted(dataclasses.replace(options, sizes=(1_000, 2_000, 3_000))) < 2 * 10**7


def test_a_vector_takes_no_more_disk_than_was_asked_for(folder: Path, tmp_path: Path) -> None:
    job = {
        "store": str(tmp_path / "store"),
        "settings": {},
        "vectors": 300,
        "dimension": 1_536,
        "content_seed": 3,
        "first": 0,
        "last": 40,
    }
    actions.make(job)
    files = [path.stat() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    taken = sum(min(one.st_size, 512 * one.st_blocks) for one in files)
    catalog = 150_000  # pages that every store has
    assert 0.8 * 300 * 1_536 * BYTES_A_VALUE < taken < 300 * 1_536 * BYTES_A_VALUE + catalog


def test_sizes_rise_to_the_largest_by_half_decades() -> None:
    assert sizes_up_to(100_000) == (1_000, 3_200, 10_000, 32_000, 100_000)
    assert sizes_up_to(20_000) == (1_000, 3_200, 10_000, 20_000)
    assert sizes_up_to(10_000_000)[-3:] == (1_000_000, 3_200_000, 10_000_000)


@pytest.mark.parametrize("sizes", [(1_000, 2_000), (200, 1_000, 2_000), (1_000, 3_000, 2_000)])
def test_sizes_that_say_nothing_are_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="sizes"):
        ScaleOptions(reports=tmp_path, sizes=sizes)


def test_every_vector_is_another_one_and_named_alone() -> None:
    content = Content(8, 5)
    numbers = [0, 1, POOL, POOL + 1, 8 * POOL, 16 * POOL, 24 * POOL, content.distinct - 1]
    rows = {content.row(number).tobytes() for number in numbers}
    assert len(rows) == len(numbers)
    assert np.array_equal(content.row(content.distinct), content.row(0))
    assert np.array_equal(content.rows(POOL, POOL + 2)[1], content.row(POOL + 1))
    assert len({key_of(number) for number in range(1_000)}) == 1_000
    words = content.rows(0, 100).view(np.uint32)
    assert not np.any(words & 0xFFFF)  # on the grid of titan-embed-text-v1


def test_documents_hold_each_vector_once() -> None:
    found = documents_of(1_050)
    assert found[0] == ("edited 0", 0, 20)
    assert [first for _, first, _ in found[1:]] == [last for _, _, last in found[:-1]]
    assert found[-1][2] == 1_050


def test_the_peak_is_seen_though_it_has_gone() -> None:
    with AnonymousPeak() as peak:
        block = bytearray(60_000_000)
        block[::4096] = b"x" * len(block[::4096])
        while peak._peak < 55_000_000:
            pass
        del block
    assert 55_000_000 < peak.added < 90_000_000


def test_a_damaged_result_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "scale.json").write_text("{")
    with pytest.raises(EvidenceError):
        write_scale_page(tmp_path)
    assert not (tmp_path / "scale.html").exists()


def test_wrong_use_is_said() -> None:
    assert CliRunner().invoke(scale, ["--max", "100"]).exit_code == 2
    assert "Exit status" in CliRunner().invoke(scale, ["--help"]).output
