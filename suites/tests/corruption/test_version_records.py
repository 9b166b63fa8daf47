"""A record, sum or number of a version that is lost or changed is an error, and is listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from suites.tests.corruption.versioned import FAST, KEYS, holdings, row
from titanstore import CorruptionError, EmbeddingStore
from titanstore.catalog import change_sums
from titanstore.catalog.change_sums import PREFIX, SHARES
from titanstore.catalog.history import ENTRIES
from titanstore.catalog.views import CatalogWriter
from titanstore.keys import stored_key

# -- each way in which a record can be missed ----------------------------------------------

DAMAGES: dict[str, Callable[[CatalogWriter], object]] = {}


def damage(change: Callable[[CatalogWriter], object]) -> Callable[[CatalogWriter], object]:
    DAMAGES[change.__name__.replace("_", " ")] = change
    return change


def record_of(view: CatalogWriter) -> tuple[bytes, bytes]:
    place = ENTRIES + stored_key("a1").fingerprint()
    found = view.history.recorded(1, place)
    assert found
    return b"\0\0\0\1" + place, found


def rewrite(view: CatalogWriter, database: str, old: bytes, new: bytes, value: bytes) -> None:
    """As damage does it: no sum is told."""
    view._transaction.delete(old, db=view._databases[database])
    view._transaction.put(new, value, db=view._databases[database])


@damage
def a_key_of_a_record(view: CatalogWriter) -> None:
    key, value = record_of(view)
    rewrite(view, "changes", key, key[:-1] + bytes((key[-1] ^ 1,)), value)


@damage
def a_value_of_a_record(view: CatalogWriter) -> None:
    """It leads to the record of the same key that version 2 has."""
    key, _ = record_of(view)
    later = view.lookup_many([key[5:]])[0] or view.at(3).lookup_many([key[5:]])[0]
    rewrite(view, "changes", key, key, later[0].pack())


@damage
def a_record_gone(view: CatalogWriter) -> None:
    view._transaction.delete(record_of(view)[0], db=view._databases["changes"])


@damage
def a_record_of_another_version(view: CatalogWriter) -> None:
    key, value = record_of(view)
    rewrite(view, "changes", key, b"\0\0\0\2" + key[4:], value)


@damage
def a_sum_changed(view: CatalogWriter) -> None:
    stored = view._transaction.get(PREFIX + b"\0\0\0\1", db=view._databases["meta"])
    assert stored is not None
    found = bytearray(stored)
    for at in range(0, len(found), 8):
        found[at] ^= 1
    view._transaction.put(PREFIX + b"\0\0\0\1", bytes(found), db=view._databases["meta"])


@damage
def sums_cut_short(view: CatalogWriter) -> None:
    view._transaction.put(PREFIX + b"\0\0\0\1", b"short", db=view._databases["meta"])


@damage
def a_number_of_a_version(view: CatalogWriter) -> None:
    meant = view._databases["versions"]
    value = view._transaction.get(b"\0\0\0\2", db=meant)
    assert value is not None
    rewrite(view, "versions", b"\0\0\0\2", b"\0\0\1\2", value)


@damage
def all_versions(view: CatalogWriter) -> None:
    view._transaction.drop(view._databases["versions"], delete=False)


@damage
def all_changes(view: CatalogWriter) -> None:
    view._transaction.drop(view._databases["changes"], delete=False)


@damage
def the_number_of_the_next_version(view: CatalogWriter) -> None:
    view._transaction.delete(b"next-version", db=view._databases["meta"])


@damage
def the_state_of_a_version(view: CatalogWriter) -> None:
    """It looks given up."""
    meant = view._databases["versions"]
    stored = view._transaction.get(b"\0\0\0\1", db=meant)
    assert stored is not None
    value = bytearray(stored)
    value[21] = 1
    view._transaction.put(b"\0\0\0\1", bytes(value), db=meant)


@pytest.mark.parametrize("name", DAMAGES)
def test_it_is_an_error_and_listed(base: Path, name: str) -> None:
    """And nothing that would pass the damage on is done."""
    with EmbeddingStore.open(base, FAST) as store:
        present = {key: store.get(key).tobytes() for key in KEYS if key in store}
        with store._catalog.writing() as view:
            DAMAGES[name](view)
    with EmbeddingStore.open(base, FAST) as store:
        for call in (
            lambda: store.at(1).get("a1"),
            lambda: store.at(1).keys(),
            lambda: store.diff(1),
            lambda: store.rollback(1),
        ):
            with pytest.raises(CorruptionError) as caught:
                call()
            assert caught.value.kind == "bad-catalog"
        assert store.check().problems
        assert {key: store.get(key).tobytes() for key in present} == present
        store.put("new", row(9))  # the present goes on
        assert store.get("new").tobytes() == row(9).tobytes()


def test_damage_is_not_handed_to_the_version_before(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        store.tag(1, "kept")
        with store._catalog.writing() as view:
            key, value = record_of(view)
            view.history.forget(1, key[4:])  # so that it would inherit that of version 2
            view.history.record(2, key[4:], value)
            view._transaction.put(b"\0\0\0\2" + key[4:], b"", db=view._databases["changes"])
        with pytest.raises(CorruptionError, match="since version 2 is damaged"):
            store.drop_versions(keep=0)
        store.untag("kept")
        assert store.drop_versions(keep=0) == 3
        assert store.versions() == []
        assert store.check().is_clean


def test_compaction_leaves_a_damaged_history_as_it_is(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        with store._catalog.writing() as view:
            a_record_gone(view)
        assert store.maintain().segments_removed == 0
        assert "records are lost or changed" in store.check().problems[0].message


def test_a_version_without_sums_is_read_and_the_next_one_gets_them(base: Path) -> None:
    """As a store of format 2 has it."""
    wanted = holdings(base)
    with EmbeddingStore.open(base, FAST) as store, store._catalog.writing() as view:
        for number in (1, 2, 3):
            view.history.sums.remove_version(number.to_bytes(4, "big"))
    header = json.loads((base / "STORE").read_text())
    (base / "STORE").write_text(json.dumps({**header, "format": 2}))
    with EmbeddingStore.open(base, FAST) as store:
        assert store.check().is_clean
        store.put("a0", row(11))
        with store._catalog.reading() as view:
            assert not view.history.has_sums()
        assert json.loads((base / "STORE").read_text())["format"] == 2
        store.snapshot("four")
        assert json.loads((base / "STORE").read_text())["format"] == 3
        store.put("a0", row(12))
        assert store.check().is_clean
        with store._catalog.writing() as view:
            assert list(view.history.sums.versions()) == [b"\0\0\0\4"]
            view._transaction.delete(
                b"\0\0\0\4e" + stored_key("a0").fingerprint(), db=view._databases["changes"]
            )
    # what the process had counted before, it would believe
    with EmbeddingStore.open(base, FAST) as store:
        with pytest.raises(CorruptionError, match="since version 4 is damaged"):
            store.at("four").get("a0")
        with pytest.raises(CorruptionError, match="since version 4 is damaged"):
            store.at("four").keys()
        with store._catalog.writing() as view:
            view.history.sums.remove_version(b"\0\0\0\4")
        assert {number: store.at(number).get("a0").tobytes() for number in wanted} == {
            number: vectors["a0"] for number, vectors in wanted.items()
        }


def test_a_lost_counter_of_documents_is_listed_and_no_document_is_written_over(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        before = store.document_keys("x.py")
        with store._catalog.writing() as view:
            view._transaction.delete(b"next-document", db=view._databases["meta"])
        (problem,) = store.check().problems
        assert "next-document is lost" in problem.message
        with pytest.raises(CorruptionError, match="next-document is lost"):
            store.put_many(["new"], [row(1)], "new.py")
        assert store.document_keys("x.py") == before


def test_what_a_process_counted_once_it_counts_again_when_another_has_changed_it(
    base: Path,
) -> None:
    """A reader beside a writer: right values, at every moment, and only what changed is counted."""
    with (
        EmbeddingStore.open(base, FAST) as store,
        EmbeddingStore.open(base, FAST, read_only=True) as reader,
    ):
        wanted = holdings(base)
        for step in range(40):
            store.put(f"more {step}", row(step))
            assert reader.at(3).get("b0").tobytes() == wanted[3]["b0"]
            assert f"more {step}" not in reader.at(3)
            with reader._catalog.reading() as view:
                view.history.verify(3, SHARES)


def test_sums_found_right_are_few_enough_to_keep(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_sums, "_VERSIONS_SEEN_MAX", 3)
    with EmbeddingStore.open(base, FAST) as store:
        for version in store.versions() * 2:
            store.at(version).keys()
            assert len(store._catalog._seen) <= 3
        for step in range(150):  # each leaves a sum that follows from a right one
            store.put(f"more {step}", row(step))
            assert f"more {step}" not in store.at(3)
            assert len(store._catalog._seen) <= 3


def test_shares_follow_each_other_as_their_records_do() -> None:
    places = [bytes((kind, first)) + b"rest" for kind in b"deno" for first in range(256)]
    shares = [share for place in places for share in change_sums.share_of(place)]
    assert shares == sorted(shares)
    assert set(shares) == set(SHARES)
    assert change_sums.share_of(b"") == change_sums.share_of(b"?x") == range(0)
    assert [len(change_sums.shares_of(bytes((kind,)))) for kind in b"deno"] == [32] * 4


def test_check_counts_again_what_the_process_has_counted(base: Path) -> None:
    """Damage that comes while a store is open, or that a page read anew has."""
    with EmbeddingStore.open(base, FAST) as store:
        assert store.at(1).keys()
        assert store.check().is_clean
        with store._catalog.writing() as view:
            a_record_gone(view)
        assert "records are lost or changed" in store.check().problems[0].message
        with pytest.raises(CorruptionError, match="since version 1 is damaged"):
            store.at(1).keys()


def test_a_lost_version_is_named(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        with store._catalog.writing() as view:
            view.history.sums.remove_version(b"\0\0\0\1")
            view._transaction.delete(b"\0\0\0\3", db=view._databases["versions"])
        (problem,) = store.check().problems
        assert "version 3 is lost" in problem.message


def test_a_write_beside_a_lost_record_does_not_make_its_share_right(tmp_path: Path) -> None:
    """What follows from a sum that was counted is right; nobody counted this one."""
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put("old", row(1))
        version = store.snapshot("before")
        store.put("old", row(2))
    place = ENTRIES + stored_key("old").fingerprint()
    record = version.number.to_bytes(4, "big") + place
    with EmbeddingStore.open(tmp_path, FAST) as store, store._catalog.writing() as view:
        assert view._transaction.delete(record, db=view._databases["changes"])
    share = change_sums.share_of(place)
    beside = next(
        name
        for name in map(str, range(10_000))
        if change_sums.share_of(ENTRIES + stored_key(name).fingerprint()) == share
    )
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put(beside, row(3))
        with pytest.raises(CorruptionError, match="records are lost or changed"):
            store.at(version).get("old")
