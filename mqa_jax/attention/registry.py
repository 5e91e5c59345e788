"""The attention types there are. A new one is a file beside this, and a line here."""

from mqa_jax.attention.config import AttentionConfig
from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.latent import Latent

TYPES: dict[str, type[AttentionConfig]] = {each.name: each for each in (Grouped, Latent)}
