"""Is there a current proof that the gates can fail? Its file, and what makes it count.

A proof belongs to the judges, not to the build they judge: it is bound to the digest of the code
that measures and decides (harness/ without its pages, fixtures/, the lock file), so a new commit
of the store keeps it and a changed gate ends it. It holds for 30 days, and on another machine too:
which faults a verdict catches does not depend on the processor, and where it does (comparing), the
calibration of each machine says so by itself (reports/decisions/0015-current-proof.md).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from harness.prove.catalogue import CATALOGUE
from harness.prove.matrix import verdict_of

__all__ = [
    "AGE_DAYS_MAX",
    "SCHEMA_VERSION",
    "check_proof",
    "find_proof",
    "gates_digest",
    "judge_proof",
    "proofs_folder",
]

SCHEMA_VERSION = 1
AGE_DAYS_MAX = 30
_SCHEMA = Path(__file__).with_name("proof.schema.json")
_CODE = ("harness", "fixtures")
_PAGES = Path("harness", "report")  # they read runs and judge nothing
_MISSING = "no current proof that the gates can fail"
_WHAT_TO_DO = "run `harness prove`"


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
    """Where proofs are kept, one folder a digest of the gates and machine."""
    return reports / "proofs"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def check_proof(proof: Any) -> str:
    """Where and how a document breaks harness/prove/proof.schema.json; "" if it does not."""
    error = jsonschema.exceptions.best_match(_validator().iter_errors(proof))
    return "" if error is None else f"{error.json_path}: {error.message[:200]}"


def judge_proof(proof: Mapping[str, Any] | None, *, digest: str, now: float) -> str:
    """Why a proof does not count at this moment; "" if it does. Pure.

    Parameters
    ----------
    proof
        Content of proof.json, None if there is none.
    digest
        `gates_digest` of the code that judged the run.
    now
        Seconds since the epoch, when the run ended.
    """
    if proof is None:
        return f"{_MISSING}: {_WHAT_TO_DO}"
    fault = check_proof(proof)
    if fault:
        return f"{_MISSING}: proof.json breaks its schema: {fault}"
    if proof["gates_digest"] != digest:
        return f"{_MISSING}: the newest is of other code that judges; {_WHAT_TO_DO}"
    verdict = verdict_of(proof["rows"])
    if verdict != "PROVED":
        return f"{_MISSING}: the newest says {verdict}; {_WHAT_TO_DO}"
    if _cells_of(proof["rows"]) != _cells_wanted():
        return f"{_MISSING}: the newest wants other verdicts than the catalogue; {_WHAT_TO_DO}"
    ages = [(now - _moment(row["started"])) / 86_400 for row in proof["rows"]]
    strange = next((age for age in ages if not -1 <= age <= AGE_DAYS_MAX), None)
    if strange is not None:
        return (
            f"{_MISSING}: the newest has a row {strange:.0f} days old, "
            f"at most {AGE_DAYS_MAX} count; {_WHAT_TO_DO}"
        )
    return ""


def _cells_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, str, bool]]]:
    return {
        row["fault"]: [(cell["judge"], cell["kind"], cell["right"]) for cell in row["cells"]]
        for row in rows
    }


def _cells_wanted() -> dict[str, list[tuple[str, str, bool]]]:
    return {
        fault.id: [(cell.judge, cell.kind, True) for cell in fault.cells] for fault in CATALOGUE
    }


def _moment(text: str) -> float:
    """Seconds since the epoch; NaN, which is of no age that counts, for a day that there is not."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return moment.timestamp() if moment.tzinfo else math.nan


def find_proof(reports: Path, *, digest: str, now: float) -> dict[str, Any] | None:
    """The newest proof that counts, else the newest of all, None if there is none.

    What cannot be read is no proof.
    """
    found = []
    for path in proofs_folder(reports).glob("*/proof.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and not check_proof(content):
            counts = not judge_proof(content, digest=digest, now=now)
            found.append((counts, str(content["ended"]), path.name, content))
    return max(found, key=lambda one: one[:3])[3] if found else None
