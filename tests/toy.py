"""The toy task at a size of seconds, for the commands."""

import json

import forks

SMALL = [
    "--config=configs/toy.py",
    "--config.model.encoder_layers=1",
    "--config.model.decoder_layers=1",
    "--config.model.width=32",
    "--config.model.feed_forward=64",
    "--config.model.vocabulary=600",
    "--config.baseline.heads=4",
    "--config.baseline.key_size=8",
    "--config.baseline.value_size=8",
    "--config.data.sentences=100",
    "--config.model.positions=32",  # few buckets, which outputs no longer than their sources do not outgrow
    "--config.data.source_length=32",
    "--config.data.target_length=32",
    "--config.decode.length_factor=1.0",
    "--config.decode.length_extra=0",
    "--config.data.rows=8",
    "--config.train.steps=4",
    "--config.train.log_every=2",
    "--config.train.evaluate_every=2",
    "--config.train.checkpoint_every=2",
    "--config.timing.batch=2",
    "--config.timing.source_length=8",
    "--config.timing.target_length=8",
    "--config.timing.lengths=(4,8)",
    "--config.timing.repeats=2",
]


def script(name, *arguments, stdin=b"", code=0, devices="--xla_force_host_platform_device_count=1"):
    """On one device by default, so that each program is compiled once."""
    done = forks.run(f"scripts/{name}.py", *arguments, stdin=stdin, environment={"XLA_FLAGS": devices})
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def records(folder, kind):
    return [json.loads(path.read_text()) for path in sorted(folder.rglob(f"records/{kind}*.json"))]
