"""WMT14 English-German, the paper's Table 1: `--config=configs/wmt14.py:multi_query`.

Each row is a variant. d_ff follows from its attention (5440 for multi_query), so that every row of the paper has
211,058,688 parameters. Paper, test BLEU with beam 4 (sacreBLEU, intl): multi_head 28.4, multi_query 28.5.
"""

from mqa_jax import config as base


def get_config(variant="multi_head"):
    config = base.defaults()
    config.name = "wmt14"
    config.model.update(
        encoder_layers=6, decoder_layers=6, width=1024, feed_forward=4096, vocabulary=33_792, positions=256
    )
    config.baseline.update(heads=8, key_size=128, value_size=128)
    config.variants = {
        "multi_head": {},
        "multi_query": {"write_heads": 1},
        "multi_query_narrow": {"write_heads": 1, "equal_parameters": False},  # d_ff stays 4096: 178 million parameters
        "multi_head_local": {"window": 32},
        "multi_query_local": {"write_heads": 1, "window": 32},
        "multi_head_h1": {"heads": 1, "key_size": 128, "value_size": 128},
        "multi_head_h2": {"heads": 2, "key_size": 64, "value_size": 64},
        "multi_head_h4": {"heads": 4, "key_size": 32, "value_size": 32},
        "multi_head_h8_k16": {"heads": 8, "key_size": 16, "value_size": 16},
        "grouped_2": {"write_heads": 2},
        "grouped_4": {"write_heads": 4},
        "mla": {"type": "latent", "kv_rank": 512, "rotary_size": 64},
        "multi_query_sinks": {"write_heads": 1, "window": 28, "sinks": 4},
        "multi_query_3_local_1_global": {"pattern": ("multi_query_local",) * 3 + ("multi_query",)},
    }
    config.dropout.update(residual=0.2, attention=0.1, hidden=0.1)
    config.data.update(
        kind="tfds",
        dataset="wmt14_translate/de-en",
        pieces=33_708,
        source_length=256,
        target_length=256,
        rows=128,
        positions="row",
        packed_scoring=True,
    )
    config.decode.test_sets = ("wmt14", "wmt14/full")  # newstest2014: the paper's 2,737 lines, and all 3,003
    config.train.update(
        steps=100_000,
        optimizer="adafactor",
        schedule="paper",
        learning_rate=1.0,
        warmup=10_000,
        cooldown=20_000,
        label_smoothing=0.1,
        z_loss=1e-4,
        log_every=100,
        evaluate_every=5_000,
        checkpoint_every=5_000,
    )
    # One core of the paper's TPUv2: 1024 sentences over 8 cores, 128 tokens in, 128 out.
    config.timing.update(batch=128, source_length=128, target_length=128, beams=(1, 4))
    return base.select_variant(config, variant)
