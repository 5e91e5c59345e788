"""Models small enough for a test, and batches for them."""

import jax
import jax.numpy as jnp
import numpy as np

from mqa_jax.batch import Batch, Rows
from mqa_jax.experiment import AttentionConfig, DropoutConfig, ModelConfig, StackConfig
from mqa_jax.model.build import Model, build

HEADS = 4
WRITE_HEADS = (1, 2, HEADS)
VOCABULARY = 24
BOS, EOS = 2, 1


def model(
    task: str,
    write_heads: int = HEADS,
    window: int | None = None,
    dtype: str = "float32",
    vocabulary: int = VOCABULARY,
    dropout: DropoutConfig = DropoutConfig(),
    tied: bool = True,
    positions: int = 32,
) -> Model:
    """Two layers of width 16 with 4 heads whose keys (4) and values (6) differ in size."""
    attention = AttentionConfig(HEADS, write_heads, key_size=4, value_size=6)
    local = AttentionConfig(HEADS, write_heads, key_size=4, value_size=6, window=window)
    translation = task == "translation"
    return build(
        ModelConfig(
            width=16,
            vocabulary=vocabulary,
            positions=positions,
            tied_softmax=tied,
            dtype=dtype,
            decoder=StackConfig(2, 32, local, attention if translation else None),
            encoder=StackConfig(2, 32, attention) if translation else None,
            dropout=dropout,
        )
    )


def rows(tokens: list[list[int]], length: int) -> Rows:
    """One sentence a row, padded behind to `length`."""
    tokens_BL = np.zeros((len(tokens), length), np.int32)
    segments_BL = np.zeros_like(tokens_BL)
    for row, each in enumerate(tokens):
        tokens_BL[row, : len(each)] = each
        segments_BL[row, : len(each)] = 1
    positions_BL = np.broadcast_to(np.arange(length, dtype=np.int32), tokens_BL.shape)
    return Rows(jnp.asarray(tokens_BL), jnp.asarray(segments_BL), jnp.asarray(positions_BL))


def batch(targets: list[list[int]], length: int, sources: list[list[int]] | None = None) -> Batch:
    """Unpacked rows with the shifted inputs."""
    target = rows(targets, length)
    inputs = rows([[BOS, *each[:-1]] for each in targets], length)
    return Batch(target, inputs.tokens_BL, None if sources is None else rows(sources, length))


def sentences(seed: int, lengths: list[int], vocabulary: int = VOCABULARY) -> list[list[int]]:
    """Random ids above the special ones, EOS last."""
    random = np.random.default_rng(seed)
    return [[*random.integers(4, vocabulary, size - 1).tolist(), EOS] for size in lengths]


def parameters(of: Model, seed: int = 0) -> dict:
    """Initial parameters with a louder softmax, so that the choices of a search are not near ties."""
    values = of.init(jax.random.key(seed))
    values["embedding"]["tokens_VD"] *= 3
    return values
