"""Which form runs on which platform: the one place where that is decided.

A CPU has few rows at once in its caches and slow starts; an accelerator has neither. The forms stand beside their
plain twins in this folder, and the sizes that differ in the table below. docs/performance.md says what was measured.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is done at once.

    Attributes:
      prompt: positions of a prompt.
      encoded: source tokens of a batch.
      loss_tokens: tokens whose logits are made, on each device.
      loss_logits: logits that are made, on each device; the smaller of the two counts.
    """

    prompt: int
    encoded: int
    loss_tokens: int
    loss_logits: int


NO_LIMIT = 2**62
CPU = Sizes(prompt=128, encoded=2048, loss_tokens=1024, loss_logits=NO_LIMIT)
ACCELERATOR = Sizes(prompt=NO_LIMIT, encoded=NO_LIMIT, loss_tokens=NO_LIMIT, loss_logits=2**27)


def choose(tuned: Callable[..., Any], plain: Callable[..., Any], *operands: Any) -> Any:
    """`tuned(*operands)` on a CPU, `plain(*operands)` elsewhere. Chosen when a program is compiled, not when traced."""
    return jax.lax.platform_dependent(*operands, cpu=tuned, default=plain)


def choose_on_gpu(tuned: Callable[..., Any], plain: Callable[..., Any], *operands: Any) -> Any:
    """`tuned(*operands)` on an NVIDIA GPU, `plain(*operands)` elsewhere; as `choose`."""
    return jax.lax.platform_dependent(*operands, cuda=tuned, default=plain)


def in_sizes(function: Callable[..., Any], *operands: Any) -> Any:
    """`function(sizes, *operands)` with the sizes of the platform."""
    return choose(lambda *each: function(CPU, *each), lambda *each: function(ACCELERATOR, *each), *operands)
