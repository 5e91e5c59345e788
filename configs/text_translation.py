"""Your own parallel text: files of one sentence a line, aligned, source file then target file.

    python scripts/train.py --config=configs/text_translation.py:multi_query --workdir=runs/mine \\
        --config.data.folder=PATH --config.data.train=train.en,train.de \\
        --config.data.dev=val.en,val.de --config.data.test=test.en,test.de

The defaults fit tens of thousands of short sentences on a small machine: 3 + 3 layers of width 256.
"""

from mqa_jax import config as base


def get_config(variant="multi_head"):
    config = base.defaults()
    config.name = "text_translation"
    config.model.update(
        encoder_layers=3, decoder_layers=3, width=256, feed_forward=1024, vocabulary=8_192, positions=256
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
        "multi_query_encoder": {"write_heads": 1, "sites": ("encoder",)},
        "multi_query_decoder": {"write_heads": 1, "sites": ("decoder",)},
        "multi_query_cross": {"write_heads": 1, "sites": ("cross",)},
        "multi_query_sinks": {"write_heads": 1, "window": 28, "sinks": 4},
        "multi_query_3_local_1_global": {"pattern": ("multi_query_local",) * 3 + ("multi_query",)},
    }
    config.dropout.update(residual=0.1, attention=0.1, hidden=0.1)
    config.data.update(
        kind="text",
        folder=".",
        train=("train.en", "train.de"),
        dev=("val.en", "val.de"),
        test=("test.en", "test.de"),
        source_length=128,
        target_length=128,
        rows=8,
    )
    config.train.update(
        steps=5_000,
        learning_rate=2e-3,
        warmup=500,
        weight_decay=1e-2,
        label_smoothing=0.1,
        evaluate_every=500,
        checkpoint_every=500,
    )
    config.timing.update(batch=64, source_length=64, target_length=64, beams=(1, 4), lengths=(32, 64, 128))
    return base.select_variant(config, variant)
