"""The training step: a pure function of a state and a batch, sharded over a mesh, with a guard before the optimiser.

No update is made from a batch that would break the model: one whose loss or gradient is not a finite number, or whose
loss lies too far above the running average (a spike). The device decides, and it also adds up what a log entry says;
so no step waits for the host, which reads both when an entry is due.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mqa_jax import sharding
from mqa_jax.batch import Batch
from mqa_jax.experiment import TrainConfig
from mqa_jax.model.block import as_it_is
from mqa_jax.model.build import Model, Parameters
from mqa_jax.train import loss as losses
from mqa_jax.train.loss import Lesson, Sums, loss_sums

DECAY = 0.99  # of the guard's running average
SETTLED = 100  # accepted steps before which a loss may jump as it likes
KEPT = 16  # refused steps that are remembered by number


class Guard(NamedTuple):
    """
    Attributes:
      average: running average of the accepted losses, nats per token.
      accepted, refused: int32, steps so far.
      steps_R: int32, the numbers of the last refused steps, the first step being 1; 0 where there is none.
      gradient_norm: of the last step's gradient.
    """

    average: jax.Array
    accepted: jax.Array
    refused: jax.Array
    steps_R: jax.Array
    gradient_norm: jax.Array


class Interval(NamedTuple):
    """Totals of the steps since the last log entry. A checkpoint holds them, so an entry after a stop counts all steps.

    Attributes:
      loss, nll, divergence, counted: sums and target tokens (int32) of the steps whose objective is a finite number.
      source_tokens, target_tokens, steps: int32, of all steps.
    """

    loss: jax.Array
    nll: jax.Array
    divergence: jax.Array
    counted: jax.Array
    source_tokens: jax.Array
    target_tokens: jax.Array
    steps: jax.Array


class TrainState(NamedTuple):
    """All that training carries from step to step.

    Attributes:
      step: int32 scalar, updates made.
      parameters: float32.
      optimizer: optax's state.
      guard: which batches were refused.
      interval: what the next log entry will say.
      key: PRNG key data of the dropout; folded with the step, so it never changes.
    """

    step: jax.Array
    parameters: Parameters
    optimizer: optax.OptState
    guard: Guard
    interval: Interval
    key: jax.Array


def fresh_guard() -> Guard:
    zero = jnp.zeros((), jnp.int32)
    return Guard(jnp.zeros(()), zero, zero, jnp.zeros((KEPT,), jnp.int32), jnp.zeros(()))


def init_state(model: Model, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """A fresh state. Jit it with the shardings of `state_shardings` to make it where it lives."""
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    parameters = model.init(init_key)
    sums, counts = [jnp.zeros(())] * 3, [jnp.zeros((), jnp.int32)] * 4
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        parameters=parameters,
        optimizer=optimizer.init(parameters),
        guard=fresh_guard(),
        interval=Interval(*sums, *counts),
        key=jax.random.key_data(dropout_key),
    )


def state_shardings(model: Model, optimizer: optax.GradientTransformation, mesh: Mesh) -> Any:
    """Where each array of a state lies: optimiser statistics of a parameter's shape lie as the parameter does."""
    shapes = jax.eval_shape(functools.partial(init_state, model, optimizer, 0))
    parameters = sharding.parameter_shardings(model.axes(), shapes.parameters, mesh)
    everywhere = sharding.replicated(mesh)
    statistics = optax.tree.map_params(
        optimizer,
        lambda statistic, parameter, where: where if statistic.shape == parameter.shape else everywhere,
        shapes.optimizer,
        shapes.parameters,
        parameters,
        transform_non_params=lambda _: everywhere,
    )
    return jax.tree.map(lambda _: everywhere, shapes)._replace(parameters=parameters, optimizer=statistics)


def make_train_step(
    model: Model, optimizer: optax.GradientTransformation, config: TrainConfig, mesh: Mesh, teacher: Model | None = None
) -> Callable[..., tuple[TrainState, Sums]]:
    """A jitted step of a state and a batch that gives the next state and the batch's sums. It donates the state.

    With a teacher it takes the teacher's parameters as well, and the objective is `loss.Lesson`'s.

    Gradients are those of the mean over all target tokens of the batch, wherever its rows lie. A batch that the guard
    refuses counts as a step and leaves parameters and optimiser as they were.
    """
    shardings = state_shardings(model, optimizer, mesh)
    around = jax.checkpoint if config.rematerialise else as_it_is
    taught = [sharding.parameter_shardings(teacher.axes(), teacher.shapes(), mesh)] if teacher else []

    def step(state: TrainState, batch: Batch, *knowledge: Parameters) -> tuple[TrainState, Sums]:
        tokens = jnp.maximum((batch.target.segments_BL > 0).sum(), 1)

        def objective(parameters: Parameters, rows: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
            x_BLD, table_VD = _operands(model.bind(parameters), rows, mesh, key, around)
            lesson = None
            if teacher:
                says = _operands(teacher.bind(*knowledge), rows, mesh)
                lesson = Lesson(*says, config.teacher_weight, config.temperature)
            sums = loss_sums(x_BLD, table_VD, rows.target, config.label_smoothing, config.z_loss, mesh.size, lesson)
            return sums.objective / tokens, sums

        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        gradients, sums = accumulated(jax.grad(objective, has_aux=True), config.accumulate)(
            state.parameters, batch, key
        )
        sound, guard = judge(state.guard, sums.objective / tokens, gradients, config.spike)

        def update() -> tuple[Any, optax.OptState]:
            updates, statistics = optimizer.update(gradients, state.optimizer, state.parameters)
            return optax.apply_updates(state.parameters, updates), statistics

        # A choice between two arrays at a time would keep the old ones beside the new, and copy them.
        parameters, statistics = jax.lax.cond(sound, update, lambda: (state.parameters, state.optimizer))
        interval = extended(state.interval, sums, batch)
        return TrainState(state.step + 1, parameters, statistics, guard, interval, state.key), sums

    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(shardings, sharding.batch_sharding(mesh), *taught),
        out_shardings=(shardings, sharding.replicated(mesh)),
    )


def judge(guard: Guard, loss: jax.Array, gradients: Any, spike: float = 0.0) -> tuple[jax.Array, Guard]:
    """Whether a batch may change the model, and the guard after it.

    Args:
      loss: of the batch, nats per token.
      spike: nats per token above the running average from which a loss is refused; 0 for no limit.
    """
    norm = optax.tree.norm(gradients)
    sound = jnp.isfinite(loss) & jnp.isfinite(norm)
    if spike:
        sound &= (guard.accepted < SETTLED) | (loss <= guard.average + spike)
    average = jnp.where(guard.accepted == 0, loss, DECAY * guard.average + (1 - DECAY) * loss)
    marked_R = guard.steps_R.at[guard.refused % KEPT].set(guard.accepted + guard.refused + 1)
    return sound, Guard(
        jnp.where(sound, average, guard.average),
        guard.accepted + sound,
        guard.refused + ~sound,
        jnp.where(sound, guard.steps_R, marked_R),
        norm,
    )


def extended(interval: Interval, sums: Sums, batch: Batch) -> Interval:
    """The interval with one more step."""
    tokens, finite = sums.tokens.astype(jnp.int32), jnp.isfinite(sums.objective)
    source = 0 if batch.source is None else jnp.count_nonzero(batch.source.segments_BL)
    counted = (jnp.where(finite, each, 0) for each in (sums.loss, sums.nll, sums.divergence, tokens))
    return Interval(*(total + each for total, each in zip(interval, (*counted, source, tokens, 1), strict=True)))


@functools.partial(jax.jit, static_argnums=(0, 3))
def score(model: Model, parameters: Parameters, batch: Batch, mesh: Mesh | None = None) -> Sums:
    """The sums of one batch without dropout, smoothing or z-loss. `mesh`: what parameters and rows are sharded over."""
    x_BLD, table_VD = _operands(model.bind(parameters), batch, mesh)
    return loss_sums(x_BLD, table_VD, batch.target, devices=mesh.size if mesh else 1)


@functools.partial(jax.jit, static_argnums=(0, 3))
def nll_of_rows(model: Model, parameters: Parameters, batch: Batch, mesh: Mesh | None = None) -> jax.Array:
    """The negative log-likelihood of each row's target, float32 [B]. Arguments as in `score`."""
    x_BLD, table_VD = _operands(model.bind(parameters), batch, mesh)
    return losses.nll_of_rows(x_BLD, table_VD, batch.target, devices=mesh.size if mesh else 1)


def _operands(
    module: Any, batch: Batch, mesh: Mesh | None, key: jax.Array | None = None, around: Any = as_it_is
) -> tuple[jax.Array, jax.Array]:
    """The last hidden values and the softmax's weights, of which the loss makes the logits."""
    if mesh is None:
        return module.hidden(batch, key, around), module.embedding.softmax()

    def in_place(block: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        block = around(block)
        return lambda x_BLD, *others: sharding.keep_rows(block(sharding.keep_rows(x_BLD, mesh), *others), mesh)

    hidden_BLD = sharding.keep_rows(module.hidden(batch, key, in_place), mesh)
    # The loss works in chunks: a table in pieces would be gathered, and its gradient summed, in each of them.
    return hidden_BLD, sharding.keep_width(module.embedding.softmax(), mesh)


def accumulated(function: Callable[..., Any], parts: int) -> Callable[..., Any]:
    """`function(parameters, batch, key)`, whose results are sums over a batch's rows, in `parts` after each other.

    Every part takes each `parts`-th row, and so as many from every device.
    """
    if parts == 1:
        return function

    def of_part(parameters: Parameters, batch: Batch, key: jax.Array, row_B: jax.Array) -> Any:
        return function(parameters, batch, jax.random.fold_in(key, row_B[0]))

    def of_batch(parameters: Parameters, batch: Batch, key: jax.Array) -> Any:
        rows = len(batch.target.tokens_BL)
        return optax.microbatch(of_part, (1, 3), rows // parts)(parameters, batch, key, jnp.arange(rows))

    return of_batch
