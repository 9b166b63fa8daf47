"""Beside anchors: a run's values and those of earlier releases, so that slow creep shows.

Each run is otherwise judged against limits alone, and each change against the one before; a loss of
1 % in each of twenty changes is seen by neither. The last release alone would not show it either:
of ten losses of 1 %, one a release, it has nine. So each row is also put beside that earlier
release which makes it look worst. An anchor decides nothing.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from harness.errors import UsageError

__all__ = [
    "SAME",
    "anchor_of",
    "beside_anchor",
    "beside_earlier",
    "beside_row",
    "check_anchor",
    "find_anchors",
    "read_anchor",
    "why_strange",
]

_SCHEMA = Path(__file__).with_name("anchor.schema.json")
SCHEMA_VERSION = 1
SAME = ("metric", "statistic", "unit", "evidence", "population")


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def check_anchor(anchor: Any) -> str:
    """Where and how a document breaks harness/anchor.schema.json; "" if it does not.

    Nor may a value be NaN or beyond float64, for which a schema has no word.
    """
    error = jsonschema.exceptions.best_match(_validator().iter_errors(anchor))
    if error is not None:
        return f"{error.json_path}: {error.message[:200]}"
    for row in anchor["rows"]:
        for name in ("estimate", "low", "high"):
            if not abs(row[name]) <= sys.float_info.max:
                return f"row {row['id'][:200]}: {name} is no finite number"
    return ""


def anchor_of(
    label: str, manifest: Mapping[str, Any], verdicts: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of anchor.json: what a run says of each row that has a value; pure."""
    rows = [row for gate in verdicts["gates"] for row in gate["rows"]]
    kept = ("id", *SAME, "comparator", "estimate", "low", "high")
    return {
        "schema_version": SCHEMA_VERSION,
        "label": label,
        "run": manifest["id"],
        "profile": manifest["profile"],
        "commit": manifest["commit"],
        "content_digest": manifest["content_digest"],
        "config_digest": manifest["config_digest"],
        "machine": manifest["machine"]["id"],
        "ended": manifest["ended"],
        "rows": [{name: row[name] for name in kept} for row in rows if row["estimate"] is not None],
    }


def find_anchors(reports: Path, machine: str) -> list[dict[str, Any]]:
    """All anchors: those of this machine first, the newest of them first.

    That of another machine is not comparable, and the report says so. What cannot be read is none,
    and neither is one whose values are not those of the run kept below it (its raw samples are
    another matter: `harness verify` recomputes an anchor from them).
    """
    found = []
    for path in (reports / "anchors").glob("*/anchor.json"):
        try:
            anchor = json.loads(path.read_text(encoding="utf-8"))
            if check_anchor(anchor):
                continue
            manifest, verdicts = (
                json.loads((path.parent / "run" / name).read_text(encoding="utf-8"))
                for name in ("manifest.json", "verdicts.json")
            )
            agrees = anchor == anchor_of(anchor["label"], manifest, verdicts)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if agrees:
            found.append((anchor["machine"] == machine, anchor["ended"], path.parent.name, anchor))
    return [one[3] for one in sorted(found, key=lambda one: one[:3], reverse=True)]


def read_anchor(path: Path) -> dict[str, Any]:
    """Read an anchor named by its folder or file; raises UsageError."""
    file = path / "anchor.json" if path.is_dir() else path
    try:
        anchor: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--anchor {path}: {error}") from error
    fault = check_anchor(anchor)
    if fault:
        raise UsageError(f"--anchor {path}: {fault}")
    return anchor


def beside_anchor(
    anchor: Mapping[str, Any], manifest: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Each blocking row beside the anchor's value; pure.

    The interval of the ratio run / anchor is made of the bounds of both: low / high and
    high / low. Each bound holds with 95 %, so an end of the ratio's interval holds with at least
    90 %, whatever the samples depend on (Bonferroni). A row is "worse" or "better" if the whole
    interval is on that side of 1, "not comparable" on another machine, configuration, population,
    statistic or evidence tier, or where one of the two has no value.
    """
    known = {row["id"]: row for row in anchor["rows"]}
    strange = why_strange(anchor, manifest)
    rows = [
        beside_row(row, known.get(row["id"]), strange)
        for gate in gates
        for row in gate["rows"]
        if row["blocking"]
    ]
    head = {name: anchor[name] for name in ("label", "commit", "machine", "ended", "profile")}
    return {**head, "fault": strange, "rows": rows}


def beside_earlier(
    anchors: Sequence[Mapping[str, Any]],
    manifest: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Each blocking row that is worse than in any earlier release, beside the one that shows it
    most clearly; pure.

    Returns
    -------
    dict
        "labels" of the anchors that are comparable at all, and "rows" as of `beside_anchor`, each
        with the "label" of its anchor. Of several, the one whose ratio has its nearer bound
        furthest from 1; a count has no ratio, and the best of the counts is taken.

    Notes
    -----
    A creep shows when it is larger than the intervals of both runs: with bounds 3 % to either side,
    from 6 % on, whatever the number of releases that it took.
    """
    comparable = [one for one in anchors if not why_strange(one, manifest)]
    rows = []
    for row in (row for gate in gates for row in gate["rows"] if row["blocking"]):
        seen = []
        for anchor in comparable:
            known = {one["id"]: one for one in anchor["rows"]}
            found = beside_row(row, known.get(row["id"]), "")
            if found["verdict"] == "worse":
                seen.append((_distance(row, found), {**found, "label": anchor["label"]}))
        if seen:
            rows.append(max(seen, key=lambda one: one[0])[1])
    return {"labels": [one["label"] for one in comparable], "rows": rows}


def _distance(row: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """How far a row that is worse is from its anchor at least."""
    if found["ratio"] is None:
        return abs(float(row["estimate"]) - float(found["anchor"]))
    return max(math.log(found["low"]), -math.log(found["high"]))


def why_strange(anchor: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Why no row of a run can be set beside an anchor's; an empty string if rows can."""
    machine = manifest["machine"]["id"]
    if anchor["machine"] != machine:
        return f"measured on machine {anchor['machine']}, this run on {machine}"
    if anchor["config_digest"] != manifest["config_digest"]:
        return "measured with another configuration"
    return ""


def beside_row(
    row: Mapping[str, Any], anchored: Mapping[str, Any] | None, strange: str
) -> dict[str, Any]:
    """One row beside an anchor's, as `beside_anchor` has it; pure.

    Parameters
    ----------
    anchored
        The anchor's row of the same id; None if it has no value there.
    strange
        From `why_strange`: then nothing is compared.
    """
    found: dict[str, Any] = {
        "id": row["id"],
        "anchor": None if anchored is None else anchored["estimate"],
        "ratio": None,
        "low": None,
        "high": None,
        "verdict": "not comparable",
        "reason": strange,
    }
    if strange:
        return found
    if anchored is None:
        return {**found, "reason": "the anchor has no value"}
    if row["estimate"] is None:
        return {**found, "reason": "this run has no value"}
    other = next((name for name in SAME if row[name] != anchored[name]), "")
    if other:
        return {**found, "reason": f"measured with another {other}"}
    least = min(each[name] for each in (row, anchored) for name in ("low", "estimate", "high"))
    if row["comparator"] == "==" or least <= 0:
        same = row["estimate"] == anchored["estimate"]
        word = "no difference seen" if same else "worse" if _is_worse(row, anchored) else "better"
        return {**found, "verdict": word, "reason": "a count: compared as it is"}
    low, high = row["low"] / anchored["high"], row["high"] / anchored["low"]
    ratio = row["estimate"] / anchored["estimate"]
    if not all(map(math.isfinite, (low, ratio, high))):
        return {**found, "reason": "the ratio is not a finite number"}
    smaller, larger = (
        ("better", "worse") if row["comparator"].startswith("<") else ("worse", "better")
    )
    word = larger if low > 1 else smaller if high < 1 else "no difference seen"
    return {**found, "ratio": ratio, "low": low, "high": high, "verdict": word, "reason": ""}


def _is_worse(row: Mapping[str, Any], anchored: Mapping[str, Any]) -> bool:
    """Of two different counts: is it further from the limit's good side?"""
    difference = float(row["estimate"]) - float(anchored["estimate"])
    if row["comparator"].startswith(">"):
        return difference < 0
    if row["comparator"] == "==":
        limit = float(row["limit"])
        return abs(float(row["estimate"]) - limit) > abs(float(anchored["estimate"]) - limit)
    return difference > 0
