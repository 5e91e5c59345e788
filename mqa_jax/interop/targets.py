"""What a grouped attention can become: one with fewer write heads, or a latent one."""

import dataclasses

import numpy as np

from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.latent import Latent
from mqa_jax.attention.rotary import Rotary
from mqa_jax.errors import InputError
from mqa_jax.interop import heads
from mqa_jax.interop.heads import Heads, Moments

RANDOM = "random"  # the pool that keeps nothing of the keys and values


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Grouped attention with fewer write heads.

    `takes_text` says whether text for calibration changes what it becomes. `config` gives the attention's config, and
    raises InputError if it cannot become so; `where` names it. `weights` gives them by name; one that is not there
    keeps its fresh values.
    """

    write_heads: int
    pool: str

    @property
    def takes_text(self) -> bool:
        return self.pool in ("procrustes", "activations")

    def config(self, source: Grouped, where: str) -> Grouped:
        if source.write_heads % self.write_heads:
            raise InputError(
                f"--write_heads={self.write_heads} does not divide the {source.write_heads} write heads of {where}; "
                "choose a divisor"
            )
        return dataclasses.replace(source, write_heads=self.write_heads)

    def weights(self, source: Heads, config: Grouped, positions: int, moments: Moments) -> dict[str, np.ndarray]:
        if self.pool == RANDOM:
            return {"wq_DHK": source.wq_DHK, "wo_HVD": source.wo_HVD}
        pool, rotary = heads.POOLS[self.pool], config.rotary is not None
        return heads.pooled(source, self.write_heads, pool, rotary, moments)._asdict()


@dataclasses.dataclass(frozen=True)
class Factored:
    """Latent attention without a norm; methods as `Pooled`'s."""

    kv_rank: int
    rotary_size: int

    @property
    def takes_text(self) -> bool:
        return True

    def config(self, source: Grouped, where: str) -> Latent:
        if source.biases != "none":
            raise InputError(
                f"{where} has biases, for which a latent has no place; give --write_heads in place of --kv_rank"
            )
        size, rotary_size = source.key_size, self.rotary_size if source.rotary else 0
        most = source.write_heads * (size + source.value_size)
        if self.kv_rank > most:
            raise InputError(f"--kv_rank={self.kv_rank} is more than the {most} keys and values of {where}; lower it")
        if rotary_size and (rotary_size % 2 or size % rotary_size):
            raise InputError(
                f"--rotary_size={rotary_size} must be even and divide the key size {size} of {where}, or be 0"
            )
        shared = {field: getattr(source, field) for field in ("heads", "key_size", "value_size", "window", "sinks")}
        rotary = source.rotary or Rotary()
        return Latent(**shared, kv_rank=self.kv_rank, rotary_size=rotary_size, rotary=rotary, normalised=False)

    def weights(self, source: Heads, config: Grouped, positions: int, moments: Moments) -> dict[str, np.ndarray]:
        """A latent's queries are scaled by the size of both their parts."""
        turn_P, size = None, config.key_size
        if config.rotary is not None:
            distances = np.arange(min(positions, config.window or positions))
            turn_P = np.exp(-1j * distances[:, None] * config.rotary.frequencies(size)).mean(0)
            turn_P *= config.rotary.length**2  # which turning gives queries and keys
        rotary_size = self.rotary_size if config.rotary else 0
        made = heads.factored(source, self.kv_rank, rotary_size, turn_P, moments)
        scale = ((size + rotary_size) / size) ** 0.5
        return made._replace(wq_DHK=made.wq_DHK * scale)._asdict() | {"wo_HVD": source.wo_HVD}


Target = Pooled | Factored
