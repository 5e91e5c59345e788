"""Times incremental decoding of a config's model, with random weights, by the paper's protocol.

    python scripts/time_decode.py --config=configs/wmt14.py:multi_query --batch=128
    python scripts/time_decode.py --config=configs/text_translation.py:multi_head --beam=4 --dtype=float32

Outputs are forced to full length. The cache grows with them, or with --padded_cache has that length from the
start, as in the paper. The last line is the JSON record.
"""

import json

from absl import flags

from mqa_jax import command, config, progress, records
from mqa_jax.timing import decode, peaks

CONFIG = command.config_flag()
BATCH = flags.DEFINE_integer("batch", None, "Sentences at once. Default: config.timing.batch.", lower_bound=1)
BEAM = flags.DEFINE_integer("beam", 1, "Beams; 1 is greedy.", lower_bound=1)
SOURCE = flags.DEFINE_integer("source_length", None, "Source (or prompt) tokens a sentence.", lower_bound=1)
TARGET = flags.DEFINE_integer("target_length", None, "Output tokens a sentence.", lower_bound=1)
DTYPE = flags.DEFINE_enum("dtype", None, ["bfloat16", "float32"], "Overrides config.model.dtype.")
PADDED = flags.DEFINE_bool("padded_cache", False, "The paper's protocol: every step reads a cache of full length.")
REPEATS = flags.DEFINE_integer("repeats", None, "Timed rounds after the warm-up.", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", None, "Also keep the record in this folder.")


def main() -> None:
    settings = CONFIG.value
    if DTYPE.value:
        settings.model.dtype = DTYPE.value
    experiment = config.read(settings)
    timing = experiment.timing
    shape = decode.Shape(
        BATCH.value or timing.batch,
        BEAM.value,
        SOURCE.value or timing.source_length,
        TARGET.value or timing.target_length,
        PADDED.value,
    )
    progress.say(f"{experiment.name} {experiment.variant}: {shape}")
    limits = peaks.measure(experiment.model.dtype)
    (record,) = decode.time_in_turn([experiment], shape, REPEATS.value or timing.repeats, limits)
    for side, share in (("encoder", None), ("decoder", record["floor_share"])):
        low, high = record[f"{side}_us_spread"]
        of_floor = f", {share:.0%} of the floor's speed" if share else ""
        progress.say(f"{side}: {record[f'{side}_us_per_token']:.1f} us a token ({low:.1f} to {high:.1f}){of_floor}")
    if WORKDIR.value:
        records.write(f"{WORKDIR.value}/records", record, f"b{shape.batch}-beam{shape.beam}")
    print(json.dumps({key: value for key, value in record.items() if key != "config"}))


if __name__ == "__main__":
    command.run(main)
