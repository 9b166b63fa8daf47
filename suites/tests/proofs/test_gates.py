"""Proofs: a fault put into a real run turns its verdict away from PASS, and exits as it should.

Each run is small but whole: it embeds, stores, measures in fresh processes, judges and reports.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fixtures.titan.recorded import usual_folder
from harness import cli, environment
from harness.errors import EvidenceError
from harness.evidence import read_json, seal_samples, verdicts_of_run, write_json
from harness.pages import page_faults
from harness.report.model import read_report
from harness.report.write import write_report
from harness.verify import verify_run
from suites.tests.proofs.small_runs import BITS, TINY, gate_of, gate_with, small_run

pytestmark = [pytest.mark.xdist_group("proofs"), pytest.mark.usefixtures("resting_tree")]
MARKED_TEXT, MARKED_SECRET = "Hildegard-of-the-corpus", "credential-5f0c9b"
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@pytest.fixture(scope="module")
def kept_run(resting_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing was broken, of marked texts and with marked credentials at hand."""
    assert resting_tree == environment.project_root()
    corpus = tmp_path_factory.mktemp("corpus")
    lines = Path(json.decoder.__file__).read_text(encoding="utf-8").splitlines()
    marked = "\n".join(f"{line}  # {MARKED_TEXT}" for line in lines)
    (corpus / "marked.py").write_text(marked, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in CREDENTIALS:
            patch.setenv(name, MARKED_SECRET)
        return small_run(tmp_path_factory.mktemp("reports"), recorded=usual_folder(), corpus=corpus)


@pytest.fixture
def run(kept_run: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may break."""
    return Path(shutil.copytree(kept_run, tmp_path / kept_run.name))


def recomputed(run: Path) -> tuple[str, str]:
    """Verdict and reason of quality.bits that follow from the evidence as it is now."""
    gate = gate_of(verdicts_of_run(run)[0], BITS)
    return gate["verdict"], gate["reason"]


# ---------------------------------------------------------------- 1: nothing broken


def test_an_untouched_run_passes_and_stands(kept_run: Path) -> None:
    if usual_folder() is None:
        pytest.skip("no recorded vectors: quality.bits-recorded is NOT RUN here")
    verdicts = read_json(kept_run / "verdicts.json")
    assert gate_of(verdicts, BITS)["verdict"] == "PASS"
    assert verify_run(kept_run) == []


def test_no_text_and_no_credential_is_in_any_file_of_a_run(kept_run: Path) -> None:
    """They are in the vectors' making and in the environment of every worker, and stay there."""
    files = [path for path in kept_run.rglob("*") if path.is_file()]
    assert {"manifest.json", "verdicts.json", "report.html", "junit.xml", "summary.md"} <= {
        path.name for path in files
    }
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        for mark in (MARKED_TEXT, MARKED_SECRET):
            assert mark.encode() not in content, path


def test_a_run_of_one_gate_never_says_go(kept_run: Path) -> None:
    verdicts = read_json(kept_run / "verdicts.json")
    assert verdicts["decision"]["verdict"] == "HOLD"
    assert verdicts["decision"]["exit_code"] == 3
    others = {gate["verdict"] for gate in verdicts["gates"] if gate["id"] != BITS}
    assert others == {"NOT RUN"}
    reasons = {row["reason"] for row in gate_of(verdicts, "latency.hot")["rows"]}
    assert reasons == {"not asked for (--only)"}


def test_a_run_leaves_what_it_promises_and_no_more(kept_run: Path) -> None:
    names = {path.name for path in kept_run.iterdir()}
    wanted = {"manifest.json", "targets.json", "waivers.json", "verdicts.json", "samples"}
    pages = {"report.html", "report.pdf", "junit.xml", "summary.md"}
    assert wanted | pages <= names
    assert "work" not in names
    assert (kept_run.parent / "latest").resolve() == kept_run.resolve()
    assert {path.name for path in kept_run.parent.iterdir()} == {"latest", kept_run.name}
    manifest = read_json(kept_run / "manifest.json")
    assert manifest["sizes"]["files"] == 1
    assert manifest["machine"]["id"] in kept_run.name
    assert read_report(kept_run).alarms == ()


# ---------------------------------------------------------------- 2: one bit of a frame


def flip_once() -> Callable[[Path], None]:
    """Flips one bit of the last frame of the first store that it is given."""
    done: list[Path] = []

    def flip(store: Path) -> None:
        if not done:
            path = max((store / "segments").glob("*.seg"))
            content = bytearray(path.read_bytes())
            content[-100] ^= 1
            path.write_bytes(content)
            done.append(path)

    return flip


def test_one_flipped_bit_is_no_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept_run: Path
) -> None:
    reports = tmp_path / "reports"
    found = gate_with(
        monkeypatch, reports, "--only", BITS, sizes=TINY, recorded=None, after_build=flip_once()
    )
    assert found.exit_code == 1, found.stderr
    run = (reports / "latest").resolve()
    verdicts = read_json(run / "verdicts.json")
    rows = {row["id"]: row for row in gate_of(verdicts, BITS)["rows"]}
    broken = rows["quality.bits.emulated"]
    assert gate_of(verdicts, BITS)["verdict"] == "FAIL"
    assert broken["verdict"] == "FAIL"
    assert broken["estimate"] >= 1
    assert broken["context"]["first_errors"]
    assert rows["quality.bits.hostile"]["verdict"] == "PASS"
    assert verdicts["decision"]["reasons"] == ["quality.bits: FAIL"]
    assert verify_run(run) == []
    assert "CI FAIL" in found.stdout
    assert "FAIL" in (run / "summary.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- 3: evidence touched afterwards

EMULATED = "samples/quality.bits-emulated.json.gz"


def rewrite(run: Path, change: Callable[[dict[str, Any]], Any], *, reseal: bool = False) -> None:
    """Edit the raw samples of one measurement."""
    path = run / EMULATED
    content = json.loads(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    if reseal:
        manifest = read_json(run / "manifest.json")
        write_json(run / "manifest.json", {**manifest, "samples": seal_samples(run)})


def test_a_deleted_sample_file_is_reported_and_no_pass(run: Path) -> None:
    (run / EMULATED).unlink()
    faults = verify_run(run)
    assert f"{EMULATED}: its raw samples are missing" in faults
    assert recomputed(run) == ("INVALID", "its raw samples are missing")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_edited_sample_is_reported_whatever_it_says(run: Path, value: float) -> None:
    rewrite(run, lambda content: content["processes"][0]["values"].append(value))
    faults = verify_run(run)
    assert f"{EMULATED}: its raw samples were changed after the run" in faults
    assert recomputed(run)[0] == "INVALID"


def test_an_edited_and_resealed_sample_gives_another_verdict(run: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["processes"][0]["values"][0] = 1.0

    rewrite(run, spoil, reseal=True)
    assert recomputed(run)[0] == "FAIL"
    assert any("verdict" in fault for fault in verify_run(run))


def test_a_verdict_edited_to_pass_is_reported(run: Path) -> None:
    path = run / "verdicts.json"
    path.write_text(path.read_text().replace('"NOT RUN"', '"PASS"'), encoding="utf-8")
    faults = verify_run(run)
    assert any("claimed 'PASS', the evidence gives 'NOT RUN'" in fault for fault in faults)


def test_a_decision_edited_to_go_is_reported(run: Path) -> None:
    verdicts = read_json(run / "verdicts.json")
    verdicts["decision"] |= {"verdict": "GO", "exit_code": 0, "reasons": []}
    write_json(run / "verdicts.json", verdicts)
    assert "decision.verdict: claimed 'GO', the evidence gives 'HOLD'" in verify_run(run)
    found = CliRunner().invoke(cli.main, ["verify", str(run)])
    assert found.exit_code == 1


# ---------------------------------------------------------------- 5, 6: evidence that cannot count


@pytest.mark.parametrize("field", ["commit", "content_digest", "config_digest", "machine"])
def test_evidence_of_another_run_is_not_valid(run: Path, field: str) -> None:
    rewrite(run, lambda content: content.update({field: "0" * 40}), reseal=True)
    verdict, reason = recomputed(run)
    assert verdict == "INVALID"
    assert f"another {field.replace('_', ' ')}" in reason
    assert verify_run(run) != []


def test_stale_evidence_is_not_valid(run: Path) -> None:
    def age(content: dict[str, Any]) -> None:
        content["started"] -= 90_000
        content["ended"] -= 90_000

    rewrite(run, age, reseal=True)
    assert recomputed(run)[0] == "INVALID"


@pytest.mark.parametrize("instrument", sorted(environment.instruments()))
def test_an_instrument_that_was_on_is_not_valid(run: Path, instrument: str) -> None:
    def left_on(content: dict[str, Any]) -> None:
        content["processes"][-1]["instruments"][instrument] = True

    rewrite(run, left_on, reseal=True)
    assert recomputed(run) == ("INVALID", f"{instrument} was on, off wanted")


@pytest.mark.parametrize("harm", ["NaN", "no samples", "no processes", "other tier", "other unit"])
def test_samples_that_are_none_are_not_valid(run: Path, harm: str) -> None:
    def spoil(content: dict[str, Any]) -> None:
        if harm == "NaN":
            content["processes"][0]["values"][0] = "nan"
        elif harm == "no samples":
            content["processes"][0]["values"] = []
        elif harm == "no processes":
            content["processes"] = []
        elif harm == "other tier":
            content["evidence"] = "synthetic"
        else:
            content["unit"] = "s"

    rewrite(run, spoil, reseal=True)
    assert recomputed(run)[0] == "INVALID"


# ---------------------------------------------------------------- pages touched afterwards


def _edit_page(run: Path) -> None:
    page = run / "report.html"
    page.write_text(page.read_text(encoding="utf-8").replace("HOLD", "GO"), encoding="utf-8")


EDITED: dict[str, tuple[Callable[[Path], object], str]] = {
    "the page": (_edit_page, "report.html is not the page"),
    "the summary": (
        lambda run: (run / "summary.md").write_text("# GO\n", encoding="utf-8"),
        "summary.md is not the page",
    ),
    "the tests' view": (
        lambda run: (run / "junit.xml").write_text("<testsuites/>", encoding="utf-8"),
        "junit.xml is not the page",
    ),
    "the pages' seal": (lambda run: (run / "pages.json").unlink(), "is there without pages.json"),
    "a figure added": (
        lambda run: (run / "figures" / "good-news.png").write_bytes(b"png"),
        "good-news.png is not the page",
    ),
    "the seal of a file": (
        lambda run: write_json(
            run / "manifest.json", {**read_json(run / "manifest.json"), "sealed": {}}
        ),
        "waivers.json is not in the manifest",
    ),
    "a fact that is only shown": (
        lambda run: write_json(
            run / "manifest.json", {**read_json(run / "manifest.json"), "packages": {}}
        ),
        "made of another verdicts.json or manifest.json",
    ),
}


@pytest.mark.parametrize("harm", EDITED)
def test_an_edited_page_is_reported(run: Path, harm: str) -> None:
    assert not page_faults(run)
    change, word = EDITED[harm]
    change(run)
    faults = verify_run(run)
    assert any(word in fault for fault in faults), faults


def test_pages_made_again_stand_again(run: Path) -> None:
    _edit_page(run)
    assert page_faults(run)
    write_report(run)
    assert not page_faults(run)


def test_every_file_of_a_run_is_vouched_for(run: Path) -> None:
    """Change one byte of each, one after the other."""
    assert verify_run(run) == []
    tried = 0
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        # what cannot even be read ends `harness verify` with 1 as well
        with contextlib.suppress(EvidenceError):
            assert verify_run(run), f"{path.name}, byte {place}"
        path.write_bytes(whole)
        tried += 1
    assert tried > 10
    assert verify_run(run) == []
