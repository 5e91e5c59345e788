"""What a model makes of a few sentences while it is trained."""

import dataclasses
from collections.abc import Callable

import jax

from mqa_jax import processes
from mqa_jax.data.corpus import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.decode import generate
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Parameters, build
from mqa_jax.train.log import Translation


def translator(
    experiment: Experiment, corpus: Corpus, vocabulary: Vocabulary
) -> Callable[[Parameters], list[Translation]]:
    """Translates the first `config.train.translations` sentences of dev, greedily; a language model has none.

    Of several processes all must call it, and the first gets the translations: source, reference and output.
    """
    dev = corpus.splits["dev"]
    count = experiment.train.translations if experiment.task == "translation" else 0
    sources, references = list(dev.source[:count]), list(dev.target[:count])
    model, config = build(experiment.model), dataclasses.replace(experiment.decode, beam=1)

    def translations(parameters: Parameters) -> list[Translation]:
        if not sources:
            return []
        here = processes.gathered(jax.jit(model.lay_out)(parameters))
        if not processes.is_first():
            return []
        outputs = generate.translate(sources, model, here, vocabulary, config).texts
        rows = zip(sources, references, outputs, strict=True)
        return [{"source": source, "reference": wanted, "output": output} for source, wanted, output in rows]

    return translations
