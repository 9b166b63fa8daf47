"""Risk: a page of a soak or of rivals that is cut off, or too small to read, on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.progress import Progress
from harness.rivals.campaign import compare_rivals
from harness.rivals.options import SMOKE, RivalOptions
from harness.rivals.page import write_rivals_page
from harness.soak.page import write_page
from harness.soak.progress import SoakProgress
from harness.soak.simulate import simulate
from suites.tests.browser.chromium import Browser, Page, find_chromium
from suites.tests.browser.test_pages import DESKTOP, OPEN_ALL, PHONE, TEXTS, WIDTH
from suites.tests.soak.small_soak import begin


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Page]]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here: how the pages look is not tested")
    folder = tmp_path_factory.mktemp("wide")
    simulate(folder / "soak", begin(folder / "soak", hours=0.02), SoakProgress(), stall_s=60.0)
    options = RivalOptions(
        reports=folder, recorded=None, sizes=SMOKE, subjects=("numpy-memmap",), only=("memory",)
    )
    files = {
        "soak": write_page(folder / "soak")[0],
        "rivals": write_rivals_page(compare_rivals(options, Progress()))[0],
    }
    with Browser(program) as browser:
        opened = {}
        for name, file in files.items():
            opened[name] = browser.page()
            opened[name].resize(*DESKTOP)
            opened[name].open(Path(file))
        yield opened


@pytest.mark.parametrize("name", ["soak", "rivals"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_is_wider_than_the_screen(
    pages: dict[str, Page], name: str, size: tuple[int, int]
) -> None:
    page = pages[name]
    page.resize(*size, is_phone=size == PHONE)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(WIDTH) <= size[0]


def test_the_figure_of_a_soak_keeps_its_size_on_a_phone(pages: dict[str, Page]) -> None:
    pages["soak"].resize(*PHONE, is_phone=True)
    drawn = [one["size"] for one in pages["soak"].evaluate(TEXTS) if one["drawn"]]
    assert min(drawn) > 8.5
