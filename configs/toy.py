"""The embedded default: English-German sentences made by a grammar (data/grammar.py), learnt in minutes on two cores.

The language pair is generated, not collected: a comparison on it shows how the attention types behave in
this code, not how well they translate.
"""

from mqa_jax import config as base


def get_config(variant="multi_head"):
    config = base.defaults()
    config.name = "toy"
    config.model.update(
        encoder_layers=2, decoder_layers=2, width=128, feed_forward=512, vocabulary=1_024, positions=128
    )
    config.baseline.update(heads=8, key_size=16, value_size=16)
    config.variants = {
        "multi_head": {},
        "multi_query": {"write_heads": 1},
        "grouped_2": {"write_heads": 2},
        "multi_query_local": {"write_heads": 1, "window": 8},
    }
    config.dropout.update(residual=0.1, attention=0.0, hidden=0.0)
    config.data.update(kind="grammar", sentences=40_000, source_length=128, target_length=128, rows=32)
    config.train.update(
        steps=800, learning_rate=3e-3, warmup=80, label_smoothing=0.1, evaluate_every=200, checkpoint_every=400
    )
    config.timing.update(
        batch=64, source_length=64, target_length=64, beams=(1, 4), lengths=(16, 32, 64, 128), repeats=5
    )
    return base.select_variant(config, variant)
