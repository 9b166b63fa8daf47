"""The power cut: disks rebuilt from recorded writes, without what was not synced, and opened."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from crc32c import crc32c

from harness.errors import HarnessError
from harness.reliability.disk import Disk, atoms_pending, keep_patterns, rebuild
from harness.reliability.findings import Findings
from harness.reliability.recording import record
from harness.reliability.rehearsal import Rehearsal, read_disk, trace, verify

__all__ = ["cut_at_each_event", "of_another_boot"]

_OTHER_BOOT = b"power was cut..."
# magic: where the boot id lies, and the checksum of all before it (FORMAT.md, Marks and Bloom)
_BOOT_IDS = {b"TMRK": (24, 40), b"TBLM": (24, 48)}


def cut_at_each_event(
    rehearsal: Rehearsal,
    seed: int,
    most: int | None,
    told: Callable[[int, int], None],
    draws: int = 4,
) -> Findings:
    """Cut the power after each recorded event, and verify each disk that may be left.

    Parameters
    ----------
    most
        Disks to be tried, None for all that are drawn.
    draws
        Of each kind of pattern at each event.
    """
    calls, files = trace(rehearsal, with_data=True)
    base = read_disk(rehearsal.base)
    events = record(calls, str(rehearsal.work / "store"), base, files)
    end = atoms_pending(events, len(events))
    everything = rebuild(base, events, end, end.pending)
    if everything != files:  # the model would be of something else
        differing = sorted(
            path for path in {*files, *everything} if files.get(path) != everything.get(path)
        )
        raise HarnessError(f"the recorded writes do not make these files: {differing}")
    rng = random.Random(seed)
    findings = Findings("power-cut", rehearsal.scenario.id, seed)
    disks: list[tuple[str, str, int, Disk]] = []
    seen: set[str] = set()
    for count in range(len(events) + 1):
        cut = atoms_pending(events, count)
        for kind, kept in keep_patterns(cut, rng, draws):
            disk = rebuild(base, events, cut, kept)
            digest = f"{cut.acknowledged} {_digest(disk)}"
            if digest not in seen:
                seen.add(digest)
                disks.append(
                    (kind, f"after event {count} of {len(events)}, {kind}", cut.acknowledged, disk)
                )
    findings.known = len(disks)
    if most is not None and most < len(disks):
        disks = [disks[at] for at in sorted(rng.sample(range(len(disks)), most))]
    for done, (kind, point, acknowledged, disk) in enumerate(disks):
        told(done, len(disks))
        folder = rehearsal.work / "disk"
        _write(folder, of_another_boot(disk))
        what = verify(rehearsal, folder, acknowledged)
        findings.add(kind, "as it must", point, what)
        shutil.rmtree(folder)
    told(len(disks), len(disks))
    return findings


def _write(folder: Path, disk: Disk) -> None:
    folder.mkdir()
    for path in disk:
        if path.endswith("/"):
            (folder / path).mkdir()
    for path, content in disk.items():
        if not path.endswith("/"):
            (folder / path).write_bytes(content)


def _digest(disk: Disk) -> str:
    found = hashlib.blake2b(digest_size=16)
    for path in sorted(disk):
        found.update(f"{path} {len(disk[path])} ".encode())
        found.update(disk[path])
    return found.hexdigest()


def of_another_boot(disk: Disk) -> Disk:
    """The same disk as the next start of the kernel finds it.

    Files that carry the id of this boot get another one: to them, that is what a restart is.
    """
    found = dict(disk)
    for path, content in disk.items():
        places = _BOOT_IDS.get(content[:4])
        if places is None or len(content) < places[1] + 4:
            continue
        boot_at, check_at = places
        head = bytearray(content[:check_at])
        if crc32c(bytes(head)).to_bytes(4, "little") != content[check_at : check_at + 4]:
            continue
        head[boot_at : boot_at + len(_OTHER_BOOT)] = _OTHER_BOOT
        check = crc32c(bytes(head)).to_bytes(4, "little")
        found[path] = bytes(head) + check + content[check_at + 4 :]
    return found
