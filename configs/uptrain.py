"""Trains on from another run: its model and vocabulary, and its text unless this config names another.

    python scripts/train.py --config=configs/uptrain.py --from=runs/new --config.train.steps=500 --workdir=runs/up
    python scripts/train.py --config=configs/uptrain.py --from=runs/new --config.train.teacher=runs/original \\
        --workdir=runs/taught

The rate warms up, stays and falls as MHA2MLA's (arXiv 2502.14837). `config.train.tokens` or `config.train.share` give
the steps in another way. docs/conversion.md has more.
"""

from mqa_jax import config as base


def get_config():
    config = base.continuation()
    config.name = "uptrain"
    config.train.update(
        steps=1_000,
        schedule="warmup_flat_sqrt",
        learning_rate=1e-4,
        warmup=100,
        cooldown=200,
        clip_norm=1.0,
        evaluate_every=100,
        checkpoint_every=250,
    )
    return config
