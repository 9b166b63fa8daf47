"""Risk: a page that is right in its markup and cannot be read: too wide, too pale, or by no key.

In a real Chromium, on pages of runs made by hand that have every verdict, every figure and hostile
text. The colours' own contrast is tested in `unit/harness/report`; here it is what is really shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.history import Point, Series, past_runs
from harness.report.diff_page import read_diff, write_diff
from harness.report.figures import build_figures
from harness.report.history_page import History, write_history
from harness.report.model import read_report
from harness.report.page import render_page
from suites.tests.browser.chromium import Browser, Page, find_chromium, pages_of
from suites.tests.unit.harness.report.synthetic_run import build_run
from suites.tests.unit.harness.small_run import bits, clean_bits, write_run

PHONE, DESKTOP = (360, 740), (1280, 800)
PAGES = ("report", "gates", "trend", "diff")

# ---------------------------------------------------------------- in the page

OPEN_ALL = "for (const one of document.querySelectorAll('details')) one.open = true"
WIDTH = "document.documentElement.scrollWidth"
TEXTS = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = (top, under) => {
    const share = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map((at) => share * top[at] + (1 - share) * under[at]);
  };
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement)
      layers.push(parse(getComputedStyle(one).backgroundColor));
    let colour = [255, 255, 255];
    for (const layer of layers.reverse()) colour = over(layer, colour);
    return colour;
  };
  const drawnBehind = (text, box) => {  // the last shape painted before it, under its middle
    const svg = text.closest('svg'), x = box.left + box.width / 2, y = box.top + box.height / 2;
    let colour = behind(svg.parentElement);
    for (const shape of svg.querySelectorAll('path, rect, polygon')) {
      if (text.compareDocumentPosition(shape) & Node.DOCUMENT_POSITION_FOLLOWING) break;
      const fill = getComputedStyle(shape).fill, place = shape.getBoundingClientRect();
      if (fill === 'none' || place.left > x || place.right < x || place.top > y || place.bottom < y)
        continue;
      if (shape.isPointInFill && shape.getScreenCTM) {
        const point = new DOMPoint(x, y).matrixTransform(shape.getScreenCTM().inverse());
        if (!shape.isPointInFill(point)) continue;
      }
      colour = over(parse(fill), colour);
    }
    return colour;
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility({visibilityProperty: true})) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.right < 0) continue;  // for screen readers only
    const style = getComputedStyle(element), svg = element.closest('svg');
    const back = svg ? drawnBehind(element, box) : behind(element);
    const front = over(parse(svg ? style.fill : style.color), back);
    const [dark, bright] = [light(front), light(back)].sort((a, b) => a - b);
    const drawn = svg && element.getScreenCTM ? element.getScreenCTM() : {a: 1, b: 0};
    const scale = Math.hypot(drawn.a, drawn.b);  // also of letters that are turned
    found.push({
      text: text.slice(0, 60), ratio: (bright + 0.05) / (dark + 0.05),
      size: parseFloat(style.fontSize) * scale, weight: Number(style.fontWeight), drawn: !!svg,
    });
  }
  return found;
})()
"""
FOCUSED = """
[...document.querySelectorAll('a[href], summary, [tabindex]')]
  .filter((one) => one.checkVisibility())
  .map((one) => {
    one.focus();  // after a key was pressed, so it is shown as for the keyboard
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    return {
      text: one.textContent.trim().slice(0, 40), there: document.activeElement === one,
      outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
      shown: box.width > 1 && box.height > 1 && box.right > 0 && box.bottom > 0
        && box.top < innerHeight && box.left < innerWidth,
    };
  })
"""
ACTIVE = "document.activeElement.textContent.trim()"
TAPPED = """
[...document.querySelectorAll('summary, nav a, td > a, th > a')]
  .filter((one) => one.checkVisibility())
  .map((one) => ({text: one.textContent.trim().slice(0, 40),
                  height: one.getBoundingClientRect().height}))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here: how the pages look and behave is not tested")
    with Browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each page as a file: the report of a run with everything, that of the real gates, a history
    and a comparison.
    """
    folder = tmp_path_factory.mktemp("pages")
    full = build_run(folder / "full")
    report = read_report(full)
    (folder / "report.html").write_text(render_page(report, build_figures(report, full)), "utf-8")
    broken = [bits("quality.bits-emulated", differing=2.0), *clean_bits()[::2]]
    runs = [write_run(folder / "one"), write_run(folder / "two", broken)]
    (folder / "gates.html").write_text(render_page(read_report(runs[0]), ()), encoding="utf-8")
    points = tuple(Point(when=1e9 + at, commit="c" * 40, value=1.0 + at) for at in range(5))
    series = Series(name="quality.bits.hostile", machine="m", context="ci", unit="s", points=points)
    histories = [History(series=series, steps=())]
    write_history(histories, ["a run: damaged"], folder / "trend", past_runs(folder))
    write_diff(read_diff(*runs), folder / "diff")
    return {
        "report": folder / "report.html",
        "gates": folder / "gates.html",
        "trend": folder / "trend" / "trend.html",
        "diff": folder / "diff" / "diff.html",
    }


@pytest.fixture(scope="module")
def opened(browser: Browser, files: dict[str, Path]) -> dict[str, Page]:
    pages = {}
    for name, file in files.items():
        pages[name] = browser.page()
        pages[name].resize(*DESKTOP)
        pages[name].open(file)
    return pages


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, opened: dict[str, Page]) -> Page:
    found = opened[request.param]
    found.resize(*DESKTOP)
    found.prefer("light")
    return found


def test_nothing_is_asked_for_and_nothing_complained_of(
    opened: dict[str, Page], files: dict[str, Path]
) -> None:
    for name, page in opened.items():
        assert set(page.requests) == {files[name].resolve().as_uri()}
        assert page.complaints == []


@pytest.mark.parametrize("size", [PHONE, (768, 1024), DESKTOP], ids=lambda size: str(size[0]))
def test_nothing_is_wider_than_the_screen(page: Page, size: tuple[int, int]) -> None:
    page.resize(*size, is_phone=size == PHONE)
    assert page.evaluate(WIDTH) <= size[0]
    page.evaluate(OPEN_ALL)
    assert page.evaluate(WIDTH) <= size[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_told_from_what_is_behind_it(page: Page, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1, of large letters 3 to 1."""
    page.prefer(scheme)
    page.evaluate(OPEN_ALL)
    texts = page.evaluate(TEXTS)
    assert len(texts) > 10
    pale = [
        (one["text"], round(one["ratio"], 2))
        for one in texts
        if one["ratio"] < (3.0 if one["size"] >= 24 else 4.5)
    ]
    assert pale == []


def test_letters_on_a_phone_are_large_enough(page: Page) -> None:
    page.resize(*PHONE, is_phone=True)
    page.evaluate(OPEN_ALL)
    texts = page.evaluate(TEXTS)
    assert [one for one in texts if one["size"] < (8.5 if one["drawn"] else 12)] == []


def test_what_is_tapped_is_high_enough(page: Page) -> None:
    """WCAG 2.2, 2.5.8."""
    page.resize(*PHONE, is_phone=True)
    assert [one for one in page.evaluate(TAPPED) if one["height"] < 24] == []


def test_verdict_and_reasons_are_seen_first(opened: dict[str, Page]) -> None:
    """Without scrolling on a desk, on a phone with one movement of the thumb."""
    for name in ("report", "gates"):
        for size, screens in ((DESKTOP, 1), (PHONE, 2)):
            opened[name].resize(*size, is_phone=size == PHONE)
            for where in ("h1", ".meaning", "#change"):
                bottom = f"document.querySelector('{where}').getBoundingClientRect().bottom"
                assert opened[name].evaluate(f"scrollTo(0, 0), {bottom}") < screens * size[1], where


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    opened: dict[str, Page], files: dict[str, Path]
) -> None:
    for name, page in opened.items():
        page.resize(*DESKTOP)
        page.open(files[name])
        page.press("Tab")
        assert page.evaluate(ACTIVE).startswith("Skip to"), name
        order = [page.evaluate(ACTIVE)]
        for _ in range(3):
            page.press("Tab")
            order.append(page.evaluate(ACTIVE))
        seen = page.evaluate(FOCUSED)
        assert [one["text"] for one in seen[: len(order)]] == [text[:40] for text in order][
            : len(seen)
        ]
        assert [one for one in seen if not (one["there"] and one["shown"])] == []
        assert [one for one in seen if one["outline"] < 2] == []


def test_the_skip_link_skips(opened: dict[str, Page], files: dict[str, Path]) -> None:
    page = opened["gates"]
    page.resize(*DESKTOP)
    page.open(files["gates"])
    page.press("Tab")
    page.press("Enter")
    assert page.evaluate("location.hash") == "#gates"
    page.press("Tab")
    assert page.evaluate("document.activeElement.closest('[aria-labelledby=gates]') !== null")


def test_a_gate_of_the_table_leads_to_its_evidence(opened: dict[str, Page]) -> None:
    page = opened["gates"]
    page.evaluate("document.querySelector('.wide tbody th > a').click()")
    goal = "document.querySelector(location.hash)"
    assert page.evaluate(f"{goal}.closest('details').open")
    assert page.evaluate(f"{goal}.getBoundingClientRect().top < innerHeight")


def test_a_screen_reader_gets_names_headings_and_tables(opened: dict[str, Page]) -> None:
    for name, page in opened.items():
        page.resize(*PHONE, is_phone=True)  # where cells are blocks, and only roles say "table"
        page.evaluate(OPEN_ALL)
        nodes = page.accessible()
        roles = [node["role"]["value"] for node in nodes]
        assert roles.count("main") == 1, name
        unnamed = [
            node["role"]["value"]
            for node in nodes
            if node["role"]["value"] in ("image", "link", "heading", "region")
            and not node.get("name", {}).get("value", "").strip()
        ]
        assert unnamed == [], name
        assert {"table", "row", "columnheader", "rowheader", "cell"} <= set(roles), name
        levels = [
            value["value"]["value"]
            for node in nodes
            if node["role"]["value"] == "heading"
            for value in node.get("properties", ())
            if value["name"] == "level"
        ]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_figure_has_words(opened: dict[str, Page]) -> None:
    for name in ("report", "trend"):
        drawn = opened[name].evaluate(
            "[...document.querySelectorAll('figure svg')].map((one) => one.ariaLabel || '')"
        )
        assert drawn
        assert all(len(text) > 20 for text in drawn)


@pytest.mark.parametrize("name", ["report", "gates"])
def test_a_report_prints_on_two_pages(opened: dict[str, Page], name: str) -> None:
    """With every gate of the specification, and with every verdict and a long hostile label."""
    assert pages_of(opened[name].pdf()) <= 2


def test_what_is_printed_is_ink_on_paper(opened: dict[str, Page]) -> None:
    """Without backgrounds, and whatever the reader's colours are on the screen."""
    page = opened["report"]
    page.prefer("light", media="print")
    page.evaluate("document.documentElement.style.background = 'white'")
    texts = page.evaluate(TEXTS)
    page.prefer("light")
    assert any("not a release verdict" in one["text"] for one in texts)
    assert [one for one in texts if one["ratio"] < (3.0 if one["size"] >= 24 else 4.5)] == []
