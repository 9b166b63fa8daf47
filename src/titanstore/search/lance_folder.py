"""The folder of a Lance table: opened, made, emptied, and its state kept."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from titanstore.search import lance_commits as commits
from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_files import check_files, seal_files
from titanstore.search.lance_loop import LanceLoop
from titanstore.search.lance_settings import LanceSettings
from titanstore.search.lance_state import (
    STATE_FILE,
    Content,
    State,
    file_time_ns,
    read_state,
    sync_tree,
    write_state,
)

_OPENING_S = 60.0


def open_state(
    folder: Path,
    dimension: int,
    settings: LanceSettings,
    loop: LanceLoop,
    checked: set[str],
    *,
    read_only: bool,
) -> tuple[State, Any]:
    """The state of a table, and for a writer the table itself, put back to that state.

    No file is read by LanceDB before it is verified; names of verified ones go into `checked`.
    """
    state = read_state(folder)
    seen, wanted = (state.dimension, state.values), (dimension, settings.values)
    if seen != wanted:
        raise LanceUnavailableError(f"the table is for {seen}, wanted {wanted}")
    check_files(folder / f"{state.table}.lance", state.files, checked)
    if read_only:
        return state, None

    async def writer() -> tuple[Any, int]:
        table = await loop.connection.open_table(state.table)
        return table, await commits.settle(table, state.content.version)

    since_ns = file_time_ns()
    table, version = loop.run(writer, _OPENING_S)
    if version != state.content.version:
        state = state.with_content(replace(state.content, version=version))
        state = keep_state(folder, state, since_ns, durable=settings.durable)
    return state, table


def create_state(
    folder: Path, dimension: int, settings: LanceSettings, loop: LanceLoop, _: set[str]
) -> tuple[State, Any]:
    """An empty table in an empty folder; the name is new, so no cache knows an older one."""
    name = f"vectors-{secrets.token_hex(4)}"
    since_ns = file_time_ns()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty_folder(folder)

        async def made() -> tuple[Any, int]:
            table = await commits.create(loop.connection, name, dimension, settings)
            return table, int(await table.version())

        table, version = loop.run(made, _OPENING_S)
        content = Content(version=version, watermark=0, rows=0, digest=0)
        state = State(table=name, dimension=dimension, values=settings.values, content=content)
    except OSError as error:
        raise LanceUnavailableError(f"{folder}: {error}") from error
    return keep_state(folder, state, since_ns, durable=settings.durable), table


def keep_state(folder: Path, state: State, since_ns: int, *, durable: bool) -> State:
    """Seal new files and make a state the one that counts; the state with the seals."""
    try:
        files = seal_files(folder / f"{state.table}.lance", state.files)
        state = replace(state, files=files)
        if durable:
            sync_tree(folder, since_ns)
        write_state(folder, state, durable=durable)
    except OSError as error:
        raise LanceUnavailableError(f"{folder}: {error}") from error
    return state


def empty_folder(folder: Path) -> None:
    """Remove what a Lance table's folder holds, its state first."""
    try:
        (folder / STATE_FILE).unlink(missing_ok=True)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise LanceUnavailableError(f"{folder}: {error}") from error
