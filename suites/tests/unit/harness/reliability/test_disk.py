"""The model of a disk that loses what was not synced."""

from __future__ import annotations

import random

from harness.reliability.disk import (
    Acknowledged,
    Atom,
    Change,
    Event,
    Sync,
    atoms_pending,
    keep_patterns,
    rebuild,
)

BASE = {"old": b"old content", "sub/": b""}
OLD = -1  # the first of the base's names


def after(events: list[Event], *, kept: bool) -> dict[str, bytes]:
    cut = atoms_pending(events, len(events))
    return dict(rebuild(BASE, events, cut, cut.pending if kept else ()))


def test_what_was_not_synced_is_there_or_not() -> None:
    events: list[Event] = [Change("data", OLD, offset=4, data=b"CONTENT and more")]
    assert after(events, kept=True)["old"] == b"old CONTENT and more"
    assert after(events, kept=False)["old"] == b"old content"


def test_a_synced_file_keeps_its_data_and_only_what_came_before() -> None:
    events: list[Event] = [
        Change("data", OLD, offset=0, data=b"OLD"),
        Sync(OLD),
        Change("data", OLD, offset=4, data=b"CONTENT"),
    ]
    assert after(events, kept=False)["old"] == b"OLD content"


def test_a_synced_file_without_its_folder_has_no_name() -> None:
    events: list[Event] = [
        Change("name", 1, "sub/new"),
        Change("data", 1, data=b"data"),
        Sync(1),
    ]
    assert after(events, kept=False) == BASE
    assert after([*events, Sync(folder="")], kept=False) == BASE  # another folder
    assert after([*events, Sync(folder="sub")], kept=False) == {**BASE, "sub/new": b"data"}


def test_a_name_without_synced_data_leads_to_an_empty_file() -> None:
    events: list[Event] = [
        Change("name", 1, "new"),
        Change("data", 1, data=b"data"),
        Sync(folder=""),
    ]
    assert after(events, kept=False)["new"] == b""


def test_an_unsynced_rename_leaves_the_old_file_and_its_own() -> None:
    events: list[Event] = [
        Change("name", 1, "old.new"),
        Change("data", 1, data=b"fresh"),
        Sync(1),
        Sync(folder=""),
        Change("moved", 1, "old"),
    ]
    assert after(events, kept=False) == {**BASE, "old.new": b"fresh"}
    assert after(events, kept=True) == {"old": b"fresh", "sub/": b""}


def test_a_folder_takes_what_is_in_it_along() -> None:
    events: list[Event] = [
        Change("folder", 0, "made"),
        Change("name", 1, "made/file"),
        Sync(folder="made"),
        Sync(1),
    ]
    assert after(events, kept=False) == BASE
    assert after([*events, Sync(folder="")], kept=False) == {**BASE, "made/": b"", "made/file": b""}


def test_data_written_through_o_dsync_is_there_at_once_and_alone() -> None:
    events: list[Event] = [
        Change("data", OLD, offset=0, data=b"A"),
        Change("data", OLD, offset=1, data=b"B", is_synced=True),
    ]
    assert after(events, kept=False)["old"] == b"oBd content"


def test_sizes_and_removals_are_pending_too() -> None:
    cut: list[Event] = [Change("size", OLD, offset=3), Change("gone", 0, "old")]
    assert after(cut, kept=False)["old"] == b"old content"
    assert after(cut[:1], kept=True)["old"] == b"old"
    assert after([Change("size", OLD, offset=13)], kept=True)["old"] == b"old content\0\0"
    assert "old" not in after(cut, kept=True)


def test_room_made_for_a_file_never_cuts_it() -> None:
    assert after([Change("longer", OLD, offset=13)], kept=True)["old"] == b"old content\0\0"
    assert after([Change("longer", OLD, offset=3)], kept=True)["old"] == b"old content"
    assert after([Change("longer", OLD, offset=13)], kept=False)["old"] == b"old content"


def test_a_write_is_torn_where_sectors_end() -> None:
    data = bytes(range(256)) * 8
    events: list[Event] = [Change("name", 1, "f"), Change("data", 1, offset=300, data=data)]
    cut = atoms_pending(events, 2)
    assert [(a.start, a.end) for a in cut.pending if a.change == 1] == [
        (0, 212),
        (212, 724),
        (724, 1236),
        (1236, 1748),
        (1748, 2048),
    ]
    kept = [Atom(0), Atom(1, 212, 724)]
    assert rebuild(BASE, events, cut, kept)["f"] == bytes(512) + data[212:724]


def test_acknowledged_steps_are_counted_up_to_the_cut() -> None:
    events: list[Event] = [Acknowledged(), Change("data", OLD, data=b"x"), Acknowledged()]
    assert [atoms_pending(events, count).acknowledged for count in range(4)] == [0, 1, 1, 2]


def test_patterns_have_nothing_everything_and_torn_ones() -> None:
    events: list[Event] = [Change("data", OLD, data=bytes(5_000)), Change("gone", 0, "old")]
    cut = atoms_pending(events, 2)
    patterns = list(keep_patterns(cut, random.Random(1), 8))
    kinds = {kind for kind, _ in patterns}
    assert kinds == {
        "all dropped",
        "all there",
        "one alone",
        "one dropped",
        "torn",
        "at random",
    }
    for kind, kept in patterns:
        assert kept <= set(cut.pending), kind
    torn = next(kept for kind, kept in patterns if kind == "torn")
    assert 0 < len({atom for atom in torn if atom.change == 0}) < 10
