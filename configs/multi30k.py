"""Multi30k (Elliott et al. 2016), English to German: the runs with seeds of RESULTS.md, minutes each on a CPU core.

    python scripts/compare.py --config=configs/multi30k.py --variants=multi_head,multi_query --seeds=0,1,2 \\
        --workers=2 --workdir=runs/multi30k --config.data.folder=PATH

PATH holds train, val and test_2016_flickr, each as .en and .de. 3 + 3 layers of width 128, 4 heads of 32: a write head
of fewer numbers is not the paper's case. Variants are those of Table 1 at this size. `mla` caches as much as one write
head; the window is half of a sentence.
"""

from mqa_jax import config as base


def get_config(variant="multi_head"):
    config = base.defaults()
    config.name = "multi30k"
    config.model.update(
        encoder_layers=3, decoder_layers=3, width=128, feed_forward=512, vocabulary=4_096, positions=256
    )
    config.baseline.update(heads=4, key_size=32, value_size=32)
    config.variants = {
        "multi_head": {},
        "multi_query": {"write_heads": 1},
        "grouped_2": {"write_heads": 2},
        "mla": {"type": "latent", "kv_rank": 48, "rotary_size": 16},
        "multi_head_h1": {"heads": 1, "key_size": 32, "value_size": 32},
        "multi_head_h2": {"heads": 2, "key_size": 16, "value_size": 16},
        "multi_head_h4_k8": {"heads": 4, "key_size": 8, "value_size": 8},
        "multi_head_local": {"window": 8},
        "multi_query_local": {"write_heads": 1, "window": 8},
        "multi_query_encoder": {"write_heads": 1, "sites": ("encoder",)},
        "multi_query_decoder": {"write_heads": 1, "sites": ("decoder",)},
        "multi_query_cross": {"write_heads": 1, "sites": ("cross",)},
    }
    config.dropout.update(residual=0.1, attention=0.1, hidden=0.1)
    config.data.update(
        kind="text",
        folder=".",
        train=("train.en", "train.de"),
        dev=("val.en", "val.de"),
        test=("test_2016_flickr.en", "test_2016_flickr.de"),
        source_length=64,
        target_length=64,
        rows=16,
    )
    config.train.update(
        steps=2_500,
        learning_rate=8e-3,
        rates={"multi_query": 4e-3},  # the best of 2e-3, 4e-3 and 8e-3 for each: docs/findings.md
        warmup=500,
        weight_decay=1e-2,
        label_smoothing=0.1,
        evaluate_every=500,
        checkpoint_every=500,
    )
    config.timing.update(batch=64, source_length=64, target_length=64, beams=(1, 4), lengths=(32, 64, 128))
    return base.select_variant(config, variant)
