"""A model in words: what it is made of and what a decode step costs, without building it (`train.py --describe`)."""

from typing import Any

from mqa_jax.attention.config import in_turn
from mqa_jax.experiment import Experiment
from mqa_jax.timing import cost
from mqa_jax.timing.decode import Workload


def describe(experiment: Experiment) -> dict[str, Any]:
    """Parameters by part, sizes, cache and the cost of a decode step of the config's timing."""
    model, timing = experiment.model, experiment.timing
    step = Workload(timing.batch, 1, timing.source_length, timing.target_length, padded_cache=True).step_cost(model)
    sites = {
        "encoder": model.encoder.attention if model.encoder else (),
        "decoder": model.decoder.attention,
        "cross": model.decoder.cross,
    }
    return {
        "name": experiment.name,
        "variant": experiment.variant,
        "layers": {"encoder": model.encoder.layers if model.encoder else 0, "decoder": model.decoder.layers},
        "width": model.width,
        "feed_forward": model.decoder.feed_forward,
        "vocabulary": model.vocabulary,
        "positions": model.positions,
        "dtype": model.dtype,
        "cache_dtype": model.kept_dtype,
        "weight_dtype": model.weight_dtype or model.dtype,
        "attention": {site: in_turn(cycle) for site, cycle in sites.items() if cycle},
        "parameters": cost.parameters_by_part(model),
        "batch": timing.batch,
        "source_length": timing.source_length,
        "target_length": timing.target_length,
        "cache_bytes_per_sequence": cost.cache_bytes_per_sequence(model, timing.source_length, timing.target_length),
        "weight_bytes_per_step": step.weight_bytes,
        "self_bytes_per_step": step.self_bytes,
        "cross_bytes_per_step": step.cross_bytes,
        "bytes_per_step": step.bytes,
        "flops_per_step": step.flops,
        "flops_per_byte": step.flops / step.bytes,
    }


def text(description: dict[str, Any]) -> str:
    """The description for a person to read."""
    parameters, layers = description["parameters"], description["layers"]
    width = max(map(len, parameters))
    source = "source" if layers["encoder"] else "prompt"
    megabytes = {part: description[f"{part}_bytes_per_step"] / 1e6 for part in ("weight", "self", "cross")}
    operations, a_byte = description["flops_per_step"] / 1e9, description["flops_per_byte"]
    return "\n".join(
        [
            f"{description['name']} {description['variant']}  ({description['dtype']})",
            "",
            *(f"  {part:<{width}}  {count:>13,}" for part, count in parameters.items()),
            "",
            f"  layers {layers['encoder']} + {layers['decoder']}, width {description['width']}, "
            f"d_ff {description['feed_forward']}, vocabulary {description['vocabulary']:,}, "
            f"{description['positions']} positions",
            *(f"  {site} attention: {each}" for site, each in description["attention"].items()),
            "",
            f"  a greedy decode step of {description['batch']} sentences, {source} {description['source_length']}, "
            f"output {description['target_length']}, caches padded to full length:",
            f"    cache       {description['cache_bytes_per_sequence'] / 1e6:10.2f} MB a sequence",
            f"    reads       {description['bytes_per_step'] / 1e6:10.1f} MB (weights {megabytes['weight']:.1f}, "
            f"self-attention {megabytes['self']:.1f}, cross-attention {megabytes['cross']:.1f})",
            f"    operations  {operations:10.2f} G ({a_byte:.1f} a byte)",
        ]
    )
