"""What work needs of memory, by arithmetic before anything is allocated, against what there is.

Needs are lower bounds: what is always there at once. So nothing that fits is refused, and what is refused cannot fit.
"""

import bisect
import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax
from jax.sharding import Mesh

from mqa_jax import sharding
from mqa_jax.decode import generate
from mqa_jax.errors import InputError
from mqa_jax.experiment import DecodeConfig, Experiment, ModelConfig
from mqa_jax.model.build import Model
from mqa_jax.timing import cost

GROUPS, OWN_GROUP = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/proc/self/cgroup")
GIB = 2**30


def check(name: str, size: int, need: Callable[[int], int]) -> None:
    """Raises InputError if there is too little memory for `size`; the message says how much would do.

    Args:
      name: of the size, as the user gives it: `--batch`.
      need: the least bytes that a size needs, which grow with it.
    """
    there = available()
    if need(size) <= there:
        return
    most = bisect.bisect_right(range(1, min(size, 2**62)), there, key=need)
    fix = f"{name}={most} may fit, no more"
    if not most:
        fix = f"not even {name}=1 fits; take fewer beams, shorter rows or a smaller model"
    raise InputError(f"{name}={size} needs {need(size) / GIB:,.1f} GiB of memory, of {there / GIB:,.1f} GiB; {fix}")


def check_training(experiment: Experiment, teacher: ModelConfig | None = None) -> None:
    """Raises InputError if the mesh cannot be, does not divide the rows, or memory is too small for the rows of
    training or of the dev set.

    Args:
      teacher: the model that this one learns from too.
    """
    data, mesh = experiment.data, sharding.make_mesh(experiment.mesh)
    sharding.check_rows(data.rows, mesh)
    lengths = data.source_length, data.target_length
    check("config.data.rows", data.rows, lambda rows: training(experiment, mesh, rows, *lengths, teacher))
    # Of a batch of the dev set at its longest: token ids, segments and positions, int32.
    numbers = 3 * (data.target_length + (data.source_length if experiment.model.encoder else 0))
    check("config.decode.batch", experiment.decode.batch, lambda rows: rows * numbers * 4)


def check_generating(
    name: str, model: Model, config: DecodeConfig, lines: int, tokens: int = 2 * generate.SMALLEST_BUCKET
) -> None:
    """Raises InputError if there is too little memory for so many lines at their shortest, with the beams and the batch
    of `config`; one of these is what the user gave as `name`, `--beam` or `--batch`.

    Args:
      model: of one replica.
    """
    of, tensor = model.config, model.tensor
    source = min(generate.SMALLEST_BUCKET, of.positions)

    def need(size: int) -> int:
        beam, batch = (size, config.batch) if name == "--beam" else (config.beam, size)
        return decoding([of], generate.rows_of(batch, lines), beam, source, min(tokens, of.positions), tensor)

    check(name, config.beam if name == "--beam" else config.batch, need)


def available() -> int:
    """Bytes of the first accelerator; without one, of this machine, or what a control group leaves this process."""
    held = jax.local_devices()[0].memory_stats()
    if held and "bytes_limit" in held:
        return held["bytes_limit"]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])


def _limits() -> Iterator[int]:
    """Of the control groups that this process is in, and of those around them."""
    with contextlib.suppress(OSError):
        for line in OWN_GROUP.read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)  # version 2 has no kinds
            if kinds and "memory" not in kinds.split(","):
                continue
            place = (GROUPS / "memory" if kinds else GROUPS) / path.lstrip("/")
            for folder in (place, *place.parents):  # a container may see its own group as the root
                with contextlib.suppress(OSError, ValueError):  # a group without a limit says "max"
                    yield int((folder / ("memory.limit_in_bytes" if kinds else "memory.max")).read_text())


def decoding(
    models: Sequence[ModelConfig], batch: int, beam: int, source_length: int, target_length: int, tensor: int = 1
) -> int:
    """Of decoding with one of several models at a time: all weights, and the most caches and logits of a step.

    On accelerators it is what each of them holds, if they share the batch, and groups of `tensor` a model.
    """
    weights = sum(cost.parameters_by_part(model)["total"] * cost.weight_bytes(model) for model in models)
    tensor = 1 if _on_cpu() else tensor
    batch = batch if _on_cpu() else -(-batch * tensor // jax.local_device_count())
    return weights // tensor + max(
        batch * cost.cache_bytes_per_sequence(model, source_length, target_length, beam, tensor)
        + batch * beam * model.vocabulary * 4 // tensor  # float32
        + (_scores(model, source_length) if model.encoder else 0)
        for model in models
    )


def training(
    experiment: Experiment,
    mesh: Mesh,
    rows: int,
    source_length: int,
    target_length: int,
    teacher: ModelConfig | None = None,
) -> int:
    """Of a training step: parameters, gradients and the optimiser's moments, and what the backward pass starts from,
    the input of each block and of its hidden layer. And a teacher's parameters, in bfloat16.

    On an accelerator it is what each device holds, on a CPU what all that share its memory hold together.
    """
    model, config = experiment.model, experiment.train
    parameters = cost.parameters_by_part(model)["total"] * 4
    state = parameters * (4 if config.optimizer == "adamw" else 2)  # adafactor's statistics are small
    if teacher:
        state += cost.parameters_by_part(teacher)["total"] * cost.BYTES["bfloat16"]
    kept = 0
    for stack, length in ((model.encoder, source_length), (model.decoder, target_length)):
        if stack:
            numbers = model.width + (0 if config.rematerialise else stack.feed_forward)
            kept += stack.layers * length * numbers * cost.BYTES[model.dtype]
    at_once = -(-rows // config.accumulate)
    scores = _scores(model, max(source_length, target_length))
    share = (state * mesh.shape["data"] + at_once * (kept + scores)) // mesh.size
    return share * (len(mesh.local_devices) if _on_cpu() else 1)


def _scores(model: ModelConfig, length: int) -> int:
    """Of one sentence's attention weights in one layer, which a CPU makes all at once."""
    return model.decoder.attention[0].heads * length**2 * 4 if _on_cpu() else 0


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
