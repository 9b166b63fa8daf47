"""Bytes of a store's files changed or cut away: an error, or the right vector, never another."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.reliability.children import Child
from harness.reliability.findings import Findings, sampled
from harness.reliability.rehearsal import Rehearsal
from harness.reliability.scenarios import FEW_KEYS, opened
from harness.subjects.reference import ReferenceSubject

__all__ = ["damage_each_byte", "damages_of"]

_HEADER_BYTES = 128  # of every file: each byte of them; of the rest a sample
_SAMPLED_MAX = 2_000  # of one file: a Bloom filter is 82 kB of bits, each as good as the next
_FILLED_MAX = 1_000
_CUTS = (0, 1, 31, 32, 63, 64, 4_095, 4_096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A byte with other bits, or with `bits` 0 the file cut short there."""

    path: str
    offset: int
    bits: int

    @property
    def kind(self) -> str:
        """For counting."""
        what = "flipped" if self.bits else "truncated"
        name = self.path.rpartition("/")[2]
        return f"{what} {name.rpartition('.')[2] if '.' in name else name}"

    def done_to(self, folder: Path) -> None:
        """Do it to a copy of the store."""
        file = folder / self.path
        content = bytearray(file.read_bytes())
        if self.bits:
            content[self.offset] ^= self.bits
        else:
            del content[self.offset :]
        file.write_bytes(content)


def damages_of(folder: Path, rng: random.Random, share: float) -> list[Damage]:
    """Each byte at the beginning of each file, a share of the others, and cuts of all kinds.

    Of a file that is nearly empty, as a Bloom filter of a few keys, also each byte that is not 0.
    """
    found = []
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.name in ("LOCK", "lock.mdb"):  # they hold nothing
            continue
        path, size = str(file.relative_to(folder)), file.stat().st_size
        offsets = set(range(min(size, _HEADER_BYTES)))
        rest = range(len(offsets), size)
        filled = [at for at, byte in enumerate(file.read_bytes()) if byte]
        offsets.update(filled if len(filled) <= _FILLED_MAX else ())
        offsets.update(rng.sample(rest, min(int(len(rest) * share), _SAMPLED_MAX)))
        found += [
            Damage(path=path, offset=at, bits=rng.randrange(1, 256)) for at in sorted(offsets)
        ]
        cuts = {at for at in _CUTS if at < size} | {size // 2, size - 1} if size else set()
        found += [Damage(path=path, offset=at, bits=0) for at in sorted(cuts)]
    return found


def damage_each_byte(
    rehearsal: Rehearsal, seed: int, most: int | None, told: Callable[[int, int], None]
) -> Findings:
    """Damage the scenario's store at each place, or at `most` of them, and read all of it.

    Every read gives the vector that was put, or an error of the store's tree, or says that there is
    no such key where the catalog was hit. `check` names a place wherever a read failed. A process
    may also end by a signal, where LMDB trusts a damaged page or a mapped file is too short; what
    it read before was right all the same.
    """
    rng = random.Random(seed)
    points = damages_of(rehearsal.base, rng, share=0.1)
    findings = Findings("damage", rehearsal.scenario.id, seed, known=len(points))
    chosen = points if most is None else _of_each_kind(points, most, rng)
    for done, damage in enumerate(chosen):
        told(done, len(chosen))
        with rehearsal.copy() as folder:
            damage.done_to(folder)
            outcome, what = _read(rehearsal, folder, damage)
        point = f"{damage.path} at {damage.offset}, bits {damage.bits:#x}"
        findings.add(damage.kind, outcome, point, what)
    told(len(chosen), len(chosen))
    return findings


def _of_each_kind(points: list[Damage], most: int, rng: random.Random) -> list[Damage]:
    """As many of each kind: the catalog has most of the bytes, and few that are used."""
    kinds: dict[str, list[Damage]] = {}
    for point in points:
        kinds.setdefault(point.kind, []).append(point)
    share = -(-most // len(kinds))
    return [point for own in kinds.values() for point in sampled(own, share, rng)]


def _read(rehearsal: Rehearsal, folder: Path, damage: Damage) -> tuple[str, list[str]]:
    child = Child(lambda channel: _answer(channel.send, _reads(rehearsal, folder)))
    child.go()
    outcomes: set[str] = set()
    what = []
    while heard := child.hear():
        word, _, rest = heard.decode().partition(" ")
        if word == "wrong:" or word.startswith("{"):
            what.append(heard.decode())
        outcomes.add(word if word != "refused" else f"refused: {rest}")
    status = child.wait()
    if status < 0:
        if not damage.path.endswith(".mdb") and damage.bits:
            what.append(f"the process ended by signal {-status}")
        return f"ended by signal {-status}", what
    if not outcomes:
        raise HarnessError(f"a child ended with {status} and said nothing")
    for outcome in sorted(outcomes):
        if outcome.startswith("refused"):
            if damage.path == "BLOOM":
                what.append(f"a damaged filter is believed: {outcome}")
            return outcome, what
    return "reported" if "reported" in outcomes else "all right", what


def _answer(send: Callable[[bytes], int], said: Iterator[str]) -> int:
    for line in said:
        send(line.encode())
    return 0


def _reads(rehearsal: Rehearsal, folder: Path) -> Iterator[str]:
    """What each read says: right, refused, absent, wrong."""
    wanted = rehearsal.states[0]
    try:
        subject = opened(folder, rehearsal.scenario, read_only=True)
    except ReferenceSubject.errors as error:
        yield f"refused {getattr(error, 'kind', '')}"
        if not str(error):
            yield "wrong: an error that says nothing"
        return
    failed = 0
    for key in FEW_KEYS:
        value = wanted.vectors.get(key)
        try:
            seen = subject.get(key).tobytes().hex()
        except ReferenceSubject.errors as error:
            kind = getattr(error, "kind", "")
            if value is not None:
                failed += 1
                yield f"refused {kind}"
            continue
        if seen != value:
            yield f"wrong: {key} has another vector"
    for number, (vectors, _) in wanted.versions.items():
        for key, value in vectors.items():
            try:
                seen = subject.get_at(int(number), key).tobytes().hex()
            except ReferenceSubject.errors:
                failed += 1
                continue
            if seen != value:
                yield f"wrong: {key} as of version {number} has another vector"
    try:
        problems = subject.problems()
    except ReferenceSubject.errors as error:
        yield f"refused {getattr(error, 'kind', '')}"
        return
    if problems:
        yield "reported"
    if failed and not problems:
        yield f"wrong: {failed} reads failed, and check finds nothing"
    yield "right"
