"""The special token ids of vocabularies that are trained here, and what decoding asks of any."""

from collections.abc import Sequence
from typing import Protocol

PAD, EOS, BOS, UNK = 0, 1, 2, 3


class Tokenizer(Protocol):
    """Text to ids and back; `data.vocabulary.Vocabulary` is one.

    Attributes:
      bos, eos: the ids that are fed before an output's first token, and that end one.
    """

    bos: int
    eos: int

    def encode(self, text: str) -> list[int]:
        """Ids without EOS."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first EOS."""
        ...
