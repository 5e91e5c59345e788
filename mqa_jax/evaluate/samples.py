"""What a model makes of a few sentences while it is trained."""

import dataclasses
from collections.abc import Callable

import jax

from mqa_jax import processes
from mqa_jax.data.sources import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.decode import generate
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Parameters, build
from mqa_jax.train.metrics import Sample


def sampler(experiment: Experiment, corpus: Corpus, vocabulary: Vocabulary) -> Callable[[Parameters], list[Sample]]:
    """Translates the first `config.train.samples` sentences of dev, greedily; a language model has none.

    Of several processes all must call it, and the first gets the samples.
    """
    dev = corpus.splits["dev"]
    count = experiment.train.samples if experiment.task == "translation" else 0
    sources, references = list(dev.source[:count]), list(dev.target[:count])
    model, config = build(experiment.model), dataclasses.replace(experiment.decode, beam=1)

    def samples(parameters: Parameters) -> list[Sample]:
        if not sources:
            return []
        here = processes.whole(jax.jit(model.lay_out)(parameters))
        if not processes.is_first():
            return []
        output = generate.translate(sources, model, here, vocabulary, config).texts
        rows = zip(sources, references, output, strict=True)
        return [{"source": source, "reference": wanted, "output": text} for source, wanted, text in rows]

    return samples
