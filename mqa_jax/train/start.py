"""What a run starts with: its model on its mesh, its data, and the state that it goes on from or a fresh one."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from mqa_jax import processes, progress, sharding
from mqa_jax.data import pipeline, streams
from mqa_jax.data.sources import Corpus
from mqa_jax.data.streams import Streams
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.experiment import DataConfig, Experiment
from mqa_jax.model.build import Model, build
from mqa_jax.train.checkpoint import Checkpoints
from mqa_jax.train.optimizer import optimizer as make_optimizer
from mqa_jax.train.step import TrainState, init_state, state_shardings
from mqa_jax.train.window import Window


@dataclasses.dataclass(frozen=True)
class Start:
    """
    Attributes:
      place: puts this process's rows of a batch, as `batches` gives them, where they belong on the mesh.
      step: how many steps are done.
    """

    model: Model
    mesh: Mesh
    optimizer: optax.GradientTransformation
    batches: Streams
    place: Callable[[Any], Any]
    step: int
    state: TrainState
    window: Window


def begin(experiment: Experiment, corpus: Corpus, vocabulary: Vocabulary, checkpoints: Checkpoints) -> Start:
    """The start of a run from its newest checkpoint, if it has one.

    Raises:
      InputError: the mesh does not fit the devices or the rows, there is nothing to train on, or no checkpoint can be
        read.
    """
    mesh, rows = sharding.make_mesh(experiment.mesh), experiment.data.rows
    model = build(experiment.model, mesh)
    sharding.check_rows(rows, mesh)
    optimizer = make_optimizer(experiment.train)
    own = sharding.own_rows(rows, mesh)
    made = streams.of_rows(own, experiment.data)
    held = streams.rows_of(made, experiment.data)
    _say(made, len(held) - len(own), experiment.data)
    batches = pipeline.training_iterator(corpus.splits["train"], vocabulary, experiment.data, experiment.seed, made)
    shardings = state_shardings(model, optimizer, mesh)
    init = functools.partial(init_state, model, optimizer, experiment.seed)
    abstract = jax.tree.map(
        lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
        jax.eval_shape(init),
        shardings,
    )
    restored = checkpoints.restore(abstract, batches)
    if restored is None:
        step, state, window = 0, jax.jit(init, out_shardings=shardings)(), Window()
    else:
        step, state, window = restored.step, restored.state, Window(restored.window)
    place = functools.partial(sharding.place, mesh=mesh, rows=rows, held=held)
    return Start(model, mesh, optimizer, batches, place, step, state, window)


def _say(made: Sequence[int], beyond: int, data: DataConfig) -> None:
    """Of several processes, which streams this one makes; and if some of that is for others to use."""
    if jax.process_count() == 1:
        return
    names = f"{made[0]} to {made[-1]}" if made == list(range(made[0], made[-1] + 1)) else ", ".join(map(str, made))
    progress.say(f"process {jax.process_index()} makes the rows of streams {names} of {data.streams}")
    if processes.any_of(beyond > 0) and processes.is_first():
        progress.say(
            f"config.data.streams={data.streams} are too few for {jax.process_count()} processes: some make rows that "
            "others keep. A new run shares them out with a multiple of the processes that divides config.data.rows"
        )
