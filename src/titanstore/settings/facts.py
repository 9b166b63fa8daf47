"""What a store has on the disk that its settings do not undo."""

from __future__ import annotations

from titanstore.store import EmbeddingStore


def facts_of(store: EmbeddingStore) -> list[str]:
    """Sentences on what the folder of an open store has, beside what its settings want."""
    config, stats = store.config, store.stats()
    facts = [
        f"{stats.vectors} vectors, {stats.documents} documents. They stay as they were written, "
        "compressed or not; codes for search are added by maintain where they are missing"
    ]
    has_bloom = (store.path / "BLOOM").exists()
    if config.bloom and not has_bloom:
        facts.append("bloom: there is no filter yet; the next writer builds it")
    elif has_bloom and not config.bloom:
        facts.append("bloom: there is a filter; the next writer with these settings deletes it")
    if stats.lance_bytes and config.search_index == "flat":
        facts.append(
            f"search_index: LanceDB's tables, {stats.lance_bytes} bytes, are not asked; the next "
            "maintain deletes them"
        )
    untagged = sum(not version.tags for version in store.versions())
    if untagged > config.versions_max:
        facts.append(
            f"versions_max: the next maintain gives up {untagged - config.versions_max} of "
            f"{untagged} versions without a tag"
        )
    return facts
