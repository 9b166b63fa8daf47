"""The editing session does what its parameters say, the same way for the same seed."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from harness.workload.editing import EditingSession, editing_session
from harness.workload.trace import CHUNK_INTERVAL_S, Access, Operation, Trace

SMALL = EditingSession(reads=20_000)


@pytest.fixture(scope="module")
def session() -> Trace:
    return editing_session(3, SMALL, source="a corpus")


def visits(trace: Trace) -> list[list[Access]]:
    return [list(accesses) for _, accesses in groupby(trace, key=lambda access: access.visit)]


def test_a_seed_names_one_trace(session: Trace) -> None:
    assert editing_session(3, SMALL).digest == session.digest
    assert editing_session(4, SMALL).digest != session.digest


def test_shape_and_source_are_kept(session: Trace) -> None:
    assert (session.documents, session.chunks_per_document, session.row_bytes) == (100, 22, 4096)
    assert session.source == "a corpus"
    assert session.parameters["active_files"] == SMALL.active_files
    assert SMALL.reads <= session.reads < SMALL.reads + 22


def test_a_save_reads_everything_and_writes_one_to_three_neighbours(session: Trace) -> None:
    sizes = set()
    for visit in visits(session):
        writes = [access for access in visit if access.operation is Operation.WRITE]
        if not writes:
            continue
        reads = visit[: -len(writes)]
        assert [access.chunk for access in reads] == list(range(22))
        assert len({access.document for access in visit}) == 1
        assert np.all(np.diff([access.chunk for access in writes]) == 1)
        sizes.add(len(writes))
    assert sizes == {1, 2, 3}


def test_searches_read_single_chunks_of_several_documents(session: Trace) -> None:
    searches = [visit for visit in visits(session) if len(visit) == SMALL.results]
    assert len(searches) == pytest.approx(SMALL.search_share * len(visits(session)), rel=0.25)
    for visit in searches:
        assert len({access.key for access in visit}) == SMALL.results
    assert np.mean([len({access.document for access in visit}) for visit in searches]) > 3


def test_the_active_set_is_small_and_drifts(session: Trace) -> None:
    saved = [visit[0].document for visit in visits(session) if len(visit) > 22]
    spans = [saved[start : start + 20] for start in range(0, len(saved) - 20, 20)]
    assert max(len(set(span)) for span in spans) <= SMALL.active_files + 8
    assert len(set(saved)) > 3 * SMALL.active_files


def test_accesses_of_a_visit_keep_the_pace_of_a_client(session: Trace) -> None:
    inside = session.visit[1:] == session.visit[:-1]
    gaps = np.diff(session.time_s)
    assert gaps[inside] == pytest.approx(CHUNK_INTERVAL_S, abs=1e-9)
    assert gaps[~inside].mean() > 1000 * CHUNK_INTERVAL_S


def test_one_chunk_documents_work() -> None:
    trace = editing_session(1, EditingSession(documents=12, chunks_per_document=1, reads=200))
    assert trace.reads >= 200


@pytest.mark.parametrize(
    "change",
    [
        {"documents": 8},
        {"search_share": 1.5},
        {"result_active_share": 0.9, "result_near_share": 0.2},
        {"open_share": float("nan")},
        {"recency_factor": 0.0},
        {"results": 0},
    ],
    ids=str,
)
def test_impossible_sessions_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        EditingSession(**change)  # type: ignore[arg-type]
