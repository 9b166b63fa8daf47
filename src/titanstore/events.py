"""What an operator wants to know, told by `logging`: opening, repair, damage, falling back.

Not each operation, and never what a caller stored: no key, no text, no name of a document. Each
record has the fields of FIELDS that are known as attributes. Nothing is set up here but a handler
that does nothing, so that a program without logging of its own is not spoken to.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from enum import StrEnum

logger = logging.getLogger("titanstore")
logger.addHandler(logging.NullHandler())
FIELDS = ("event", "store", "kind", "count", "size_bytes", "version")


class Event(StrEnum):
    """Stable names of what is told; names are added, never changed."""

    OPENED = "opened"
    RECOVERED = "recovered"
    DAMAGE_FOUND = "damage-found"
    REPAIRED = "repaired"
    ROLLED_BACK = "rolled-back"
    MAINTAINED = "maintained"
    POOL_FALLBACK = "pool-fallback"
    LANCE_UNAVAILABLE = "lance-unavailable"
    CACHE_FALLBACK = "cache-fallback"
    NOT_READY = "not-ready"
    READY = "ready"


def store_name(store_id: bytes) -> str:
    """How logs and metrics call a store: the first eight digits of its id."""
    return store_id.hex()[:8]


def tell(
    level: int, event: Event, message: str, *, store_id: bytes | None = None, **fields: object
) -> None:
    """Log one event. `fields` are some of FIELDS, and `message` says nothing that they must not."""
    if logger.isEnabledFor(level):
        known = {} if store_id is None else {"store": store_name(store_id)}
        logger.log(level, message, extra={"event": str(event), **known, **fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the fields that are known.

    Of an exception only the type is told, and the kind if it is one of ours: its words may hold a
    key.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        known = vars(record)
        told |= {name: known[name] for name in FIELDS if name in known}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            told["error"] = type(error).__name__
            if "kind" not in told and hasattr(error, "kind"):
                told["kind"] = str(error.kind)
        return json.dumps(told, default=str)
