"""Many texts at once: bounded calls in threads, progress, and what to do about errors."""

from __future__ import annotations

import contextvars
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from titanstore.errors import ErrorKind, InvalidInputError

_Result = TypeVar("_Result")
_END: Any = object()  # a text that is None is a mistake of the caller's, and no end


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What `warm` found and did, in texts.

    Attributes
    ----------
    failed
        Count of each error's name: a code of Bedrock's (`ThrottlingException`) or a class;
        `not_kept` where Titan answered and the store did not take it.
    """

    present: int
    embedded: int
    failed: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """Does the store have all of them?"""
        return not self.failed


def each_of(
    texts: Sequence[str],
    resident: Callable[[str], _Result | None],
    call: Callable[[str], _Result],
    parallel: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, _Result]:
    """The result of each distinct text: what is resident first, the rest by calls.

    Raises
    ------
    InvalidInputError
        BAD_SETTING: `parallel` is not 1 or more.
    """
    _check(parallel)
    found: dict[str, _Result] = {}
    missing = []
    distinct = list(dict.fromkeys(texts))
    for text in distinct:
        result = resident(text)
        if result is None:
            missing.append(text)
        else:
            found[text] = result
    if progress is not None:
        progress(len(found), len(distinct))
    with closing(_called(missing, call, parallel)) as ended:
        for text, future in ended:
            found[text] = future.result()
            if progress is not None:
                progress(len(found), len(distinct))
    return found


def warmed(
    texts: Iterable[str],
    is_kept: Callable[[str], bool],
    call: Callable[[str], bool],
    parallel: int,
    progress: Callable[[int], None] | None,
) -> Warmed:
    """As `Embedder.warm`; `call` says whether the answer was kept. Raises as `each_of`."""
    _check(parallel)
    present = embedded = 0
    failed: Counter[str] = Counter()

    def tell() -> None:
        if progress is not None:
            progress(present + embedded + failed.total())

    def absent() -> Iterator[str]:
        nonlocal present
        for text in texts:
            if _is_kept(is_kept, text):
                present += 1
                tell()
            else:
                yield text

    with closing(_called(absent(), call, parallel)) as ended:
        for _, future in ended:
            error = future.exception()
            if error is not None:
                failed[_name(error)] += 1
            elif future.result():
                embedded += 1
            else:
                failed["not_kept"] += 1
            tell()
    return Warmed(present=present, embedded=embedded, failed=dict(failed))


def _is_kept(is_kept: Callable[[str], bool], text: str) -> bool:
    try:
        return is_kept(text)
    except InvalidInputError:
        return False  # an empty text: the call says so again, and it is counted


def _check(parallel: object) -> None:
    if not isinstance(parallel, int) or isinstance(parallel, bool) or parallel < 1:
        raise InvalidInputError(
            f"parallel is a whole number from 1 on, got {parallel!r}", ErrorKind.BAD_SETTING
        )


def _name(error: BaseException) -> str:
    response: Any = getattr(error, "response", None)  # botocore's ClientError
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)


def _called(
    texts: Iterable[str], call: Callable[[str], _Result], parallel: int
) -> Generator[tuple[str, Future[_Result]], None, None]:
    """Texts with their ended calls, in order of their ends; at most `parallel` under way.

    Whoever stops asking waits for the calls under way, and no further one is begun.
    """
    waiting = iter(texts)
    under_way: dict[Future[_Result], str] = {}
    with ThreadPoolExecutor(parallel, "titanstore-batch") as pool:
        while True:
            while len(under_way) < parallel:
                text = next(waiting, _END)
                if text is _END:
                    break
                context = contextvars.copy_context()  # `past_cache` holds in the threads too
                under_way[pool.submit(context.run, call, text)] = text
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                yield under_way.pop(future), future
