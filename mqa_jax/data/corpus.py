"""A task's text: what every source gives and every run starts from."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Train, dev and test.

    Attributes:
      description: one line for reports.
      splits: dev and test are `Split`s; train is one, or a `PreparedSplit`.
      vocabulary: the one that prepared ids are of; None for text.
    """

    description: str
    splits: Mapping[str, Any]
    vocabulary: pathlib.Path | None = None
