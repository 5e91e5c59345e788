"""What a training run's throughput is shown as a share of, while it runs."""

import jax

from mqa_jax.experiment import ModelConfig
from mqa_jax.timing import cost, peaks
from mqa_jax.train.window import Rate


def rate(model: ModelConfig) -> Rate:
    """Operations a token in products with weights, three times forwards, and the measured matmul peak times devices.

    Attention over the sequence is left out: its length differs from one packed sentence to the next. So the share is
    a little too low. Takes a few seconds.
    """
    # The cores of a process's CPU are one device in that measurement.
    devices = jax.process_count() if jax.default_backend() == "cpu" else jax.device_count()
    source = cost.encode_cost(model, 1, 1).weight_flops if model.encoder else 0.0
    target = cost.decode_cost(model, 1, 1, 1, 1, False).weight_flops
    return Rate(3 * source, 3 * target, devices * peaks.matmul(model.dtype))
