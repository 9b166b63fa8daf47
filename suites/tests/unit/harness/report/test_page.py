"""Risk: a page that fetches, runs or hides something, or shows another number than was measured."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.report.model import read_report
from harness.report.page import render_page
from harness.report.verdict import VERDICT_LOOKS
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_run import build_run, content, passing

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}
CSS = Path(__file__).parents[5] / "harness" / "report" / "style.css"


class Outline(HTMLParser):
    """Tags, attributes, text and nesting of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.ids: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text.append(data)
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def outline(rendered: Rendered) -> Outline:
    return Outline(rendered.page)


def page_of(folder: Path) -> str:
    return render_page(read_report(folder), ())


def test_nothing_is_fetched_and_nothing_runs(outline: Outline, rendered: Rendered) -> None:
    names = {tag for tag, _ in outline.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    for _, attributes in outline.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href", "action"):
                assert (value or "").startswith("#")
    assert not re.search(r"url\((?!#)", rendered.page)
    assert "@import" not in rendered.page
    policy = [a["content"] for tag, a in outline.tags if a.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_text_is_text(rendered: Rendered, outline: Outline) -> None:
    assert "<script>alert('x')</script>" in outline.words
    assert "<script" not in rendered.page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", rendered.page)


def test_markup_is_balanced_and_ids_are_unique(outline: Outline) -> None:
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    for _, attributes in outline.tags:
        for name in ("href", "aria-labelledby"):
            target = (attributes.get(name) or "").removeprefix("#")
            assert not target or target in outline.ids


def test_the_verdict_is_the_only_first_heading_and_no_level_is_skipped(outline: Outline) -> None:
    levels = [level for level, _ in outline.headings]
    assert levels.count(1) == 1
    assert outline.headings[0][0] == 1
    assert "CI FAIL" in outline.headings[0][1]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert outline.words.index("not a release verdict") < outline.words.index("What would change")


def test_sections_come_in_the_order_of_reading(outline: Outline) -> None:
    seconds = [text.strip() for level, text in outline.headings if level == 2]
    assert seconds == [
        "What would change it",
        "What was judged",
        "Gates",
        "Waivers",
        "Not tested",
        "Figures",
        "Every gate and row",
        "How this was decided",
        "How to repeat it",
    ]


def test_every_gate_row_and_verdict_is_shown_as_word_and_sign(
    outline: Outline, rendered: Rendered
) -> None:
    for gate in rendered.report.gates:
        assert outline.words.count(gate.id) >= 2
        for row in gate.rows:
            assert " ".join(row.label.split()) in outline.words
    for verdict, look in VERDICT_LOOKS.items():
        assert f"{look.sign} {verdict}" in outline.words


def test_numbers_are_those_of_quantity(outline: Outline, rendered: Rendered) -> None:
    for gate in rendered.report.gates:
        for row in gate.rows:
            for text in (row.value_text, row.interval_text, row.limit_text, row.headroom_text):
                assert text in outline.words
    assert "0.18 µs" in outline.words
    assert "64.8 %" in outline.words
    assert "best possible 19.4 %" in outline.words
    assert "1.83e-07" not in rendered.page


def test_facts_that_belong_on_page_one_are_before_the_figures(outline: Outline) -> None:
    front = outline.words.partition(" Figures ")[0]
    for fact in (
        "0d33ea27c1f24bb9a6d0a4b3a5c0f7a1d7a0e6b1, with uncommitted changes",
        "blake2b:41c09e77ab10de5f",
        "Synthetic CPU (no such machine) @ 2.50GHz, 2 cores, 8.20 GB memory",
        "space with search on: 54.1 %",
        "titan-embed-text-v2 as served today: INFEASIBLE (advisory), bound 19.4 %",
        "whole process: 31.4 MB",
        "2026-12-31",
        "rows: 5 recorded, 16 synthetic, 4 not measured",
    ):
        assert fact in front


def test_tables_name_their_columns_and_rows(outline: Outline) -> None:
    headers = [a for tag, a in outline.tags if tag == "th"]
    assert headers
    assert {a.get("scope") for a in headers} == {"col", "row", "rowgroup"}
    # On a phone the cells are blocks, and only the roles still say that it is a table.
    roles = {"table": "table", "tr": "row", "td": "cell"}
    for tag, attributes in outline.tags:
        if tag in roles:
            assert attributes.get("role") == roles[tag]


def test_pictures_have_words(outline: Outline) -> None:
    drawings = [a for tag, a in outline.tags if tag == "svg"]
    assert len(drawings) > 20
    for attributes in drawings:
        assert attributes.get("role") == "img"
        assert len(attributes.get("aria-label") or "") > 10


def test_an_advisory_gate_never_shows_pass_beside_a_miss(outline: Outline) -> None:
    _, _, aside = outline.words.partition("Shown, not deciding in this profile")
    assert re.match(r" ✓ PASS compression\.saving .{0,400}? 64\.8 % ", aside)


def test_a_contradicted_go_raises_the_alarm_first(tmp_path: Path) -> None:
    verdicts = content()
    verdicts["decision"] = {"verdict": "GO", "label": "GO", "exit_code": 0, "reasons": []}
    words = Outline(page_of(build_run(tmp_path, verdicts))).words
    assert words.index("This report contradicts itself") < words.index("What would change it")
    assert "The decision says GO, but these blocking gates do not: hit_ratio.hot" in words
    assert "⚠ GO" in words
    assert "✓ GO" not in words


def test_an_honest_go_has_no_alarm_and_names_its_thinnest_margin(tmp_path: Path) -> None:
    page = page_of(build_run(tmp_path, passing()))
    words = Outline(page).words
    assert 'role="alert"' not in page
    assert "CI PASS" in words
    assert "The thinnest margin is startup.time, 100 files, warm: 0.41 s against < 1 s" in words
    assert "The waiver of latency.disk ends on 2026-12-31; then it counts as FAIL." in words


def test_a_manifest_of_nothing_is_shown_as_unknown(tmp_path: Path) -> None:
    verdicts = passing()
    verdicts["run"] = {}
    run = build_run(tmp_path, verdicts)
    (run / "manifest.json").write_text("{}", encoding="utf-8")
    words = Outline(page_of(run)).words
    assert "Commit not recorded, tree unknown" in words
    assert "Machine not recorded" in words


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_of_text_can_be_read(theme: str) -> None:
    css = CSS.read_text(encoding="utf-8")
    light, _, rest = css.partition("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", light))
    if theme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#\w{6});", rest.partition("\n* {")[0]))
    for text in ("ink", "muted", "link", "limit", *(f"series-{place}" for place in range(1, 6))):
        assert contrast(colours[text], colours["card"]) >= 4.5, text
    for tone in {look.tone for look in VERDICT_LOOKS.values()}:
        assert contrast("#ffffff", colours[tone]) >= 4.5, tone
        letters = colours[f"{tone}-text"] if theme == "dark" else colours[tone]
        assert contrast(letters, colours[f"{tone}-tint"]) >= 4.5, tone
        assert contrast(letters, colours["card"]) >= 4.5, tone
