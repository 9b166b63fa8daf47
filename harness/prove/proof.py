"""Is there a current proof that the gates can fail? Its file, and what makes it count.

A proof is evidence, and counts as evidence does (SPEC section 3): of the same commit, content and
machine as the run that relies on it, whole, and not older than 30 days
(reports/decisions/0015-current-proof.md).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from harness.prove.matrix import is_as_the_catalogue_says, verdict_of

__all__ = [
    "AGE_DAYS_MAX",
    "CLOCK_STEP_S",
    "SCHEMA_VERSION",
    "Identity",
    "check_proof",
    "gates_digest",
    "judge_proof",
    "moment",
    "proofs_folder",
    "proofs_in",
]

SCHEMA_VERSION = 2
AGE_DAYS_MAX = 30
CLOCK_STEP_S = 60  # the wall clock may be set back a little while a proof is under way
_SCHEMA = Path(__file__).with_name("proof.schema.json")
_CODE = ("harness", "fixtures")
_PAGES = Path("harness", "report")  # they read runs and judge nothing
_MISSING = "no current proof that the gates can fail"
_WHAT_TO_DO = "run `harness prove`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a proof belongs to, and each of its rows.

    Attributes
    ----------
    gates_digest
        `gates_digest` of the tree: of a checkout without git it has what `content_digest` lacks.
    machine
        Id of the machine.
    """

    commit: str
    content_digest: str
    gates_digest: str
    machine: str

    @classmethod
    def of_run(cls, manifest: Mapping[str, Any]) -> Identity:
        """That of a run of the gates, by its manifest."""
        return cls(
            commit=str(manifest["commit"]),
            content_digest=str(manifest["content_digest"]),
            gates_digest=str(manifest.get("gates_digest", "")),
            machine=str(manifest["machine"]["id"]),
        )

    @property
    def name(self) -> str:
        """Of the folder that a proof of this identity is kept in."""
        text = "\n".join(f"{name}={value}" for name, value in sorted(asdict(self).items()))
        return f"{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}-{self.machine}"

    def difference(self, seen: Mapping[str, Any]) -> str:
        """What of `seen` is another's, in words; "" if nothing is."""
        other = [one.name for one in fields(self) if seen.get(one.name) != getattr(self, one.name)]
        return other[0].replace("_", " ") if other else ""


def gates_digest(root: Path) -> str:
    """BLAKE2b over name and content of every file that measures or decides; about 20 ms."""
    names = sorted(
        path.relative_to(root)
        for folder in _CODE
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    )
    digest = hashlib.blake2b(digest_size=16)
    for name in [*names, Path("requirements.lock")]:
        if _PAGES in name.parents or not (root / name).is_file():
            continue
        content = (root / name).read_bytes()
        digest.update(f"{name.as_posix()}:{len(content)}:".encode() + content)
    return digest.hexdigest()


def proofs_folder(reports: Path) -> Path:
    """Where proofs are kept, one folder an identity."""
    return reports / "proofs"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def check_proof(proof: Any) -> str:
    """Where and how a document breaks harness/prove/proof.schema.json; "" if it does not."""
    error = jsonschema.exceptions.best_match(_validator().iter_errors(proof))
    return "" if error is None else f"{error.json_path}: {error.message[:200]}"


def judge_proof(
    proof: Mapping[str, Any] | None, *, wanted: Identity, now: float, fault: str = ""
) -> str:
    """Why a proof does not count at this moment; "" if it does. Pure.

    Parameters
    ----------
    proof
        Content of proof.json, None if there is none.
    wanted
        What the run that relies on it belongs to.
    now
        Seconds since the epoch, when the run ended.
    fault
        What was wrong with the evidence below the proof when the run looked at it.
    """
    if proof is None:
        return f"{_MISSING}: {_WHAT_TO_DO}"
    breach = check_proof(proof)
    if breach:
        return f"{_MISSING}: proof.json breaks its schema: {breach}"
    found = _not_current(proof, wanted, now) or fault
    return f"{_MISSING}: {found}; {_WHAT_TO_DO}" if found else ""


def _not_current(proof: Mapping[str, Any], wanted: Identity, now: float) -> str:
    for seen in (proof["identity"], *(row["identity"] for row in proof["rows"])):
        other = wanted.difference(seen)
        if other:
            return f"the newest is of another {other}, or a row of it is"
    verdict = verdict_of(proof["rows"])
    if verdict != "PROVED":
        return f"the newest says {verdict}"
    strange = next((row for row in proof["rows"] if not is_as_the_catalogue_says(row)), None)
    if strange is not None:
        return f"what the newest says of {strange['fault']} is not what its judges said"
    ages = [now - moment(row["started"]) for row in proof["rows"]]
    old = next((age for age in ages if not age <= AGE_DAYS_MAX * 86_400), None)
    if old is not None:
        return f"the newest has a row {old / 86_400:.0f} days old, at most {AGE_DAYS_MAX} count"
    ended = moment(proof["ended"])
    if not min(*ages, now - ended) >= -CLOCK_STEP_S:
        return "the newest was made after this run, so the clock was set back"
    if any(not moment(row["started"]) <= ended + CLOCK_STEP_S for row in proof["rows"]):
        return "the newest has a row that began after its end"
    return ""


def moment(text: str) -> float:
    """Seconds since the epoch; NaN, which is of no age that counts, for a day that there is not."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return found.timestamp() if found.tzinfo else math.nan


def proofs_in(
    reports: Path, *, wanted: Identity, now: float
) -> list[tuple[Path, dict[str, Any], str]]:
    """Folder, content and `judge_proof` of every proof: those that count first, newest first.

    What cannot be read is no proof. Whether the evidence agrees has not been looked at.
    """
    found = []
    for path in proofs_folder(reports).glob("*/proof.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict) and not check_proof(content):
            found.append((path.parent, content, judge_proof(content, wanted=wanted, now=now)))
    return sorted(
        found, key=lambda one: (not one[2], str(one[1]["ended"]), one[0].name), reverse=True
    )
