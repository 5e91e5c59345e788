"""The special token ids, and what decoding asks of a vocabulary."""

from collections.abc import Sequence
from typing import Protocol

PAD, EOS, BOS, UNK = 0, 1, 2, 3


class Tokenizer(Protocol):
    """Text to ids and back; `data.vocabulary.Vocabulary` is one."""

    def encode(self, text: str) -> list[int]:
        """Ids without EOS."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first EOS."""
        ...
