"""The embedded default: English-German sentences made by a grammar (data/grammar.py), learnt in minutes on two cores.

It shows how the attention types behave in this code, not how well they translate.
"""

from mqa_jax import config as base


def get_config(variant="multi_head"):
    config = base.defaults()
    config.name = "toy"
    config.model.update(
        encoder_layers=2, decoder_layers=2, width=128, feed_forward=512, vocabulary=2_048, positions=128
    )
    config.baseline.update(heads=4, key_size=32, value_size=32)  # a write head of 16 numbers is not the paper's case
    config.variants = {
        "multi_head": {},
        "multi_query": {"write_heads": 1},
        "grouped_2": {"write_heads": 2},
        "multi_query_local": {"write_heads": 1, "window": 8},
        "mla": {"type": "latent", "kv_rank": 64, "rotary_size": 8},
    }
    config.data.update(kind="grammar", sentences=40_000, source_length=64, target_length=64, rows=16)
    config.train.update(
        steps=1_000, learning_rate=3e-3, warmup=100, label_smoothing=0.1, evaluate_every=250, checkpoint_every=500
    )
    config.timing.update(batch=64, source_length=64, target_length=64, beams=(1, 4), lengths=(64, 128), repeats=3)
    return base.select_variant(config, variant)
