"""Makes a config's data ready: TFDS's download and preparation, checks of text files, the vocabulary.

    python scripts/prepare_data.py --config=configs/wmt14.py --data_dir=DATA     # needs TensorFlow, see below
    python scripts/prepare_data.py --config=configs/text_translation.py --data_dir=PATH

Only TFDS's own preparation needs TensorFlow (pip install 'mqa_jax[prepare]'); training never does. The
vocabulary is written to DATA/vocabulary.model: give it to a run with --config.data.vocabulary_file.
"""

import json
import pathlib

from absl import flags

from mqa_jax import command, config, progress
from mqa_jax.data import pipeline, sources, tfds
from mqa_jax.data import vocabulary as vocabularies

CONFIG = command.config_flag()
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data; the same as --config.data.folder.")


def main() -> None:
    settings = CONFIG.value
    if DATA_DIR.value:
        settings.data.folder = DATA_DIR.value
    experiment = config.read(settings)
    data = experiment.data
    if data.kind == "tfds":
        tfds.prepare(data, progress.say)
    corpus = sources.load(data, experiment.task)
    progress.say(corpus.description)
    vocabulary = vocabularies.obtain(data, corpus, pathlib.Path(data.folder or ".") / "vocabulary.model")
    dev = list(pipeline.scoring_batches(corpus.splits["dev"], vocabulary, data, experiment.decode.batch))
    tokens = sum(int((batch.target.segments_BL > 0).sum()) for batch in dev)
    figures = {name: len(split) for name, split in corpus.splits.items()}
    print(json.dumps(figures | {"pieces": vocabulary.size, "vocabulary": vocabulary.fingerprint, "dev_tokens": tokens}))


if __name__ == "__main__":
    command.run(main)
