"""Every test of this folder runs with the locks of the store watched, and within a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.lock_order import watching


@pytest.fixture(autouse=True)
def locks_watched() -> Iterator[None]:
    """Fails a test that takes locks against their order, or does not come to an end."""
    with watching():
        yield
