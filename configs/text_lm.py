"""A language model on your own text, one sentence or paragraph a line; without files, on Python's documentation.

    python scripts/train.py --config=configs/text_lm.py:multi_query --workdir=runs/mine \\
        --config.data.kind=text --config.data.folder=PATH --config.data.train=train.txt

Python's documentation is in every interpreter (`pydoc_data.topics`): small, real, and there without a network.
"""

from mqa_jax import config as base


def get_config(variant="multi_head"):
    config = base.defaults()
    config.name = "text_lm"
    config.model.update(
        encoder_layers=0,
        decoder_layers=4,
        width=256,
        feed_forward=1024,
        vocabulary=4_096,
        positions=256,
        tied_softmax=True,
    )
    config.baseline.update(heads=8, key_size=32, value_size=32)
    config.variants = {
        "multi_head": {},
        "multi_query": {"write_heads": 1},
        "multi_head_h1": {"heads": 1, "key_size": 32, "value_size": 32},
        "multi_head_h2": {"heads": 2, "key_size": 16, "value_size": 16},
        "multi_head_h4": {"heads": 4, "key_size": 8, "value_size": 8},
        "multi_head_h8_k4": {"heads": 8, "key_size": 4, "value_size": 4},
        "grouped_2": {"write_heads": 2},
        "grouped_4": {"write_heads": 4},
        "multi_head_local": {"window": 32},
        "multi_query_local": {"write_heads": 1, "window": 32},
        "mla": {"type": "latent", "kv_rank": 128, "rotary_size": 16},
        "multi_query_sinks": {"write_heads": 1, "window": 28, "sinks": 4},
        "multi_query_3_local_1_global": {"pattern": ("multi_query_local",) * 3 + ("multi_query",)},
    }
    config.dropout.update(residual=0.2, attention=0.1, hidden=0.1)
    config.data.update(kind="pydoc", normalization="identity", target_length=128, rows=32)
    config.train.update(
        steps=1_000, learning_rate=2e-3, warmup=100, weight_decay=1e-2, evaluate_every=250, checkpoint_every=250
    )
    config.timing.update(batch=32, source_length=8, target_length=120, beams=(1,), lengths=(64, 128, 256))
    return base.select_variant(config, variant)
