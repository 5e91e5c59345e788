"""What a model is fed: token rows with their segments and positions."""

from typing import Any, NamedTuple

Array = Any  # a jax.Array on a device, a numpy array on its way there


class Rows(NamedTuple):
    """B rows of L tokens. Packed rows hold several segments; padding is segment 0.

    Attributes:
      tokens_BL: int32 ids.
      segments_BL: int32, 1, 2, ... for the segments of a row, 0 for padding. Segments do not see each other.
      positions_BL: int32 rows of the position table.
    """

    tokens_BL: Array
    segments_BL: Array
    positions_BL: Array


class Batch(NamedTuple):
    """One batch of training or scoring.

    Attributes:
      target: the tokens to predict. Each segment ends in EOS.
      inputs_BL: what the decoder reads: the target shifted right **inside** each segment, BOS first.
      source: the encoder's rows, whose segment numbers match the target's; None for a language model.
    """

    target: Rows
    inputs_BL: Array
    source: Rows | None = None


class Prompt(NamedTuple):
    """What a language model goes on from: B prompts of different lengths, each at the END of its row.

    Attributes:
      tokens_BP: int32 ids; row b's prompt is tokens_BP[b, P - lengths_B[b]:], which may be empty.
      lengths_B: int32.
    """

    tokens_BP: Array
    lengths_B: Array
