"""Keys: what a request costs before the store is asked."""

from __future__ import annotations

from titanstore import embedding_key

from . import prepared

repeat = prepared.REPEAT  # asv reads it here
_TEXTS = 64


class Keys:
    """`embedding_key` of 64 requests."""

    core = True
    version = prepared.version(1)

    def setup(self) -> None:
        self.texts = [
            f"def function_{number}(): return {number}\n" * 30 for number in range(_TEXTS)
        ]
        self.options = {"dimensions": 1024, "normalize": True}
        self.answer: list[str] = []

    def time_digest_64(self) -> None:
        options = self.options
        self.answer = [embedding_key("model", text, options) for text in self.texts]

    def teardown(self) -> None:
        if self.answer:
            assert len(set(self.answer)) == _TEXTS
            assert embedding_key("model", self.texts[0], self.options) == self.answer[0]
            assert {len(key) for key in self.answer} == {32}
