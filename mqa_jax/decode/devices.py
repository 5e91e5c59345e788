"""Which devices a batch is decoded on.

On a CPU each core can be a device of its own (`command.py` makes it one), and a small model decodes up to twice
as fast in parts: its products are so short that sharing each one between cores costs more in waiting than it
saves. Parts need nothing from each other, so they never wait. A large model is the other way round: its
products keep all cores busy, and every part would read all its weights.
"""

from typing import Any

import jax

from mqa_jax.experiment import ModelConfig
from mqa_jax.model.build import build, count

LEAST_ROWS = 8  # of a part
SMALL = 32_000_000  # parameters


def for_batch(model: ModelConfig, rows: int) -> list[Any]:
    """The devices to decode `rows` rows on, each an equal part; one where there is nothing to gain.

    Args:
      rows: sentences times beams.
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu" or count(build(model).shapes()) > SMALL:
        return devices[:1]
    parts = max(n for n in range(1, len(devices) + 1) if n == 1 or (rows % n == 0 and rows // n >= LEAST_ROWS))
    return devices[:parts]
