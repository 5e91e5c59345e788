"""Attention of whole sequences by a library's fused kernel, which keeps no array of scores in memory.

A kernel walks over blocks of queries and of memory, and keeps a running softmax for each query (Rabe and Staats 2021,
arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135). Backwards it makes the scores of a block anew. Neither kernel is
of this project: a TPU runs JAX's splash attention, an NVIDIA GPU cuDNN's. Both read the G write heads as they are.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import Mesh, PartitionSpec

from mqa_jax.kernels.whole import segment_mask

# Splash attention takes lengths in multiples of this. It also writes this many copies of the softmax's sum for every
# query and head, so that it saves memory only where more is seen.
LANES = 128
BLOCKS = (512, 256, LANES)
CUDNN_MULTIPLE = 64
# Of a padded position. No real position carries it, so that it is seen by nothing that counts.
NOWHERE = -1


def attend(
    q_BLHK: jax.Array,
    k_BMGK: jax.Array,
    v_BMGV: jax.Array,
    query_segments_BL: jax.Array,
    memory_segments_BM: jax.Array,
    *,
    causal: bool,
    window: int | None,
    otherwise: Callable[[], jax.Array],
    mesh: Mesh | None = None,
) -> jax.Array:
    """softmax(q k^T) v by the kernel of the platform that the program is compiled for, or by `otherwise`.

    The platform is chosen when the program is lowered. A program for a CPU holds nothing of the kernels, and one for a
    TPU nothing of the plain form, forwards and backwards.

    Args:
      q_BLHK: scaled already. H is a multiple of G.
      query_segments_BL, memory_segments_BM: int32, from 0. A query sees memory of its own segment only; segment 0 is
        padding. What a query that sees nothing gives is finite, and differs from the plain form.
      causal: a query sees memory up to its own index in the row; L and M are then the same.
      window: with `causal`, the position itself and the window - 1 before it; None for all.
      otherwise: gives the plain form's o_BLHV. It is used on a CPU, and where no kernel takes the types and sizes.
      mesh: where the arrays lie, with axes `data`, `fsdp` and `tensor` of type Auto (`by_part`). It also says for
        which chip to compile ahead of time; without one, a TPU or GPU is taken to be of the kind that is here, or of
        a kind that has the kernel.
    Returns:
      o_BLHV in the type of the values.
    """
    if min(q_BLHK.shape[1], k_BMGK.shape[1]) <= LANES:
        return otherwise()
    operands = q_BLHK, k_BMGK, v_BMGV, query_segments_BL, memory_segments_BM
    device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
    # A kernel takes time to trace, which the devices of a mesh may save: they are those of one platform.
    platforms = ("tpu", "gpu") if mesh is None else (device.platform,)
    kernels = {}
    if "tpu" in platforms and _splash_takes(q_BLHK.dtype, device):
        kernels["tpu"] = by_part(functools.partial(on_tpu, causal=causal, window=window), mesh)
    if "gpu" in platforms and _cudnn_takes(q_BLHK, k_BMGK, v_BMGV, device):
        kernels["cuda"] = by_part(functools.partial(on_cuda, causal=causal, window=window), mesh)
    if not kernels:
        return otherwise()
    return jax.lax.platform_dependent(*operands, **kernels, default=lambda *_: otherwise())


def by_part(kernel: Callable[..., jax.Array], mesh: Mesh | None) -> Callable[..., jax.Array]:
    """The kernel on each device's own rows and query heads: XLA does not know how to share out a kernel.

    Rows lie over `data` and `fsdp`, query heads over `tensor`, where these divide them; else every device works on all.
    A device that has fewer query heads than one write head serves takes that write head from a copy of all.
    """
    if mesh is None or mesh.size == 1:
        return kernel

    def shared(q_BLHK, k_BMGK, v_BMGV, query_segments_BL, memory_segments_BM):
        (B, _, H, _), G, T = q_BLHK.shape, k_BMGK.shape[2], mesh.shape["tensor"]
        rows = None if B % (mesh.shape["data"] * mesh.shape["fsdp"]) else ("data", "fsdp")
        heads = "tensor" if H % T == 0 and (G % T == 0 or T % G == 0) else None
        one_of_few = heads is not None and G < T

        def part(q_BLHK, k_BMGK, v_BMGV, *segments):
            if one_of_few:
                own = jax.lax.axis_index("tensor") * G // T
                k_BMGK, v_BMGV = (jax.lax.dynamic_slice_in_dim(x, own, 1, axis=2) for x in (k_BMGK, v_BMGV))
            return kernel(q_BLHK, k_BMGK, v_BMGV, *segments)

        queries, segments = PartitionSpec(rows, None, heads), PartitionSpec(rows)
        memory = PartitionSpec(rows, None, None if one_of_few else heads)
        return jax.shard_map(
            part,
            mesh=mesh,
            in_specs=(queries, memory, memory, segments, segments),
            out_specs=queries,
            check_vma=False,  # splash attention does not say over which axes its results differ
        )(q_BLHK, k_BMGK, v_BMGV, query_segments_BL, memory_segments_BM)

    return shared


def on_tpu(
    q_BLHK: jax.Array,
    k_BMGK: jax.Array,
    v_BMGV: jax.Array,
    query_segments_BL: jax.Array,
    memory_segments_BM: jax.Array,
    *,
    causal: bool,
    window: int | None,
    interpret: bool = False,
) -> jax.Array:
    """`attend` on one TPU by splash attention, lengths padded to its blocks; `interpret` runs it on any device."""
    L, H = q_BLHK.shape[1:3]
    q_BLHK, k_BMGK, v_BMGV = (_padded(x, LANES) for x in (q_BLHK, k_BMGK, v_BMGV))
    segments = splash.SegmentIds(
        _padded(query_segments_BL, LANES, NOWHERE), _padded(memory_segments_BM, LANES, NOWHERE)
    )
    shape = q_BLHK.shape[1], k_BMGK.shape[1]
    if not causal:
        mask = splash.FullMask(shape)
    elif window is None:
        mask = splash.CausalMask(shape)
    else:
        mask = splash.LocalMask(shape, (window - 1, 0), offset=0)
    block_l, block_m = (next(size for size in BLOCKS if length % size == 0) for length in shape)
    sizes = splash.BlockSizes(
        block_q=block_l,
        block_kv=block_m,
        block_q_dkv=block_l,
        block_kv_dkv=block_m,
        block_q_dq=block_l,
        block_kv_dq=block_m,
    )
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([mask] * H), block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
    )
    o_BHLV = jax.vmap(cast(Callable[..., jax.Array], kernel))(
        *(jnp.swapaxes(x, 1, 2) for x in (q_BLHK, k_BMGK, v_BMGV)), segments
    )
    return jnp.swapaxes(o_BHLV, 1, 2)[:, :L].astype(v_BMGV.dtype)


def on_cuda(
    q_BLHK: jax.Array,
    k_BMGK: jax.Array,
    v_BMGV: jax.Array,
    query_segments_BL: jax.Array,
    memory_segments_BM: jax.Array,
    *,
    causal: bool,
    window: int | None,
) -> jax.Array:
    """`attend` on one NVIDIA GPU by cuDNN. Segments and window are one mask for all heads, which does lie in memory.

    Keys and values are filled up with zeros to one size: not every GPU takes sizes that differ.
    """
    L, V = q_BLHK.shape[1], v_BMGV.shape[-1]
    q_BLHK, k_BMGK, v_BMGV = (
        jnp.pad(x, [(0, 0)] * 3 + [(0, _cudnn_size(k_BMGK, v_BMGV) - x.shape[-1])]) for x in (q_BLHK, k_BMGK, v_BMGV)
    )
    q_BLHK, k_BMGK, v_BMGV = (_padded(x, CUDNN_MULTIPLE) for x in (q_BLHK, k_BMGK, v_BMGV))
    query_segments_BL = _padded(query_segments_BL, CUDNN_MULTIPLE, NOWHERE)
    memory_segments_BM = _padded(memory_segments_BM, CUDNN_MULTIPLE, NOWHERE)
    mask_BLM = segment_mask(query_segments_BL, memory_segments_BM)
    if window is not None:  # cuDNN has windows of its own, but before 9.10.2 not beside a mask
        position_L = jnp.arange(q_BLHK.shape[1])
        mask_BLM &= (position_L[:, None] - position_L[None, :] < window)[None]
    o_BLHV = jax.nn.dot_product_attention(
        q_BLHK, k_BMGK, v_BMGV, mask=mask_BLM[:, None], scale=1.0, is_causal=causal, implementation="cudnn"
    )
    return o_BLHV[:, :L, :, :V]


def _padded(x: jax.Array, multiple: int, value: int = 0) -> jax.Array:
    """[B, length, ...] with the length filled up to a multiple."""
    missing = -x.shape[1] % multiple
    if not missing:
        return x
    return jnp.pad(x, [(0, missing if axis == 1 else 0) for axis in range(x.ndim)], constant_values=value)


def _splash_takes(dtype: jnp.dtype, device: Any) -> bool:
    """Not products of bfloat16 on the two oldest TPUs, for which Mosaic cannot compile them."""
    return dtype == jnp.float32 or device.device_kind not in ("TPU v2", "TPU v3")


def _cudnn_takes(q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGV: jax.Array, device: Any) -> bool:
    """What `jax.nn.dot_product_attention` states for cuDNN. Fused attention came with compute capability 8.0, and heads
    wider than 128 with 9.0."""
    size = _cudnn_size(k_BMGK, v_BMGV)
    capability = float(getattr(device, "compute_capability", math.inf))
    types = {x.dtype for x in (q_BLHK, k_BMGK, v_BMGV)}
    fits = types in ({jnp.dtype("bfloat16")}, {jnp.dtype("float16")}) and size <= (256 if capability >= 9 else 128)
    return fits and capability >= 8 and _cudnn_is_there()


def _cudnn_size(k_BMGK: jax.Array, v_BMGV: jax.Array) -> int:
    """Of a head's keys and values as cuDNN gets them."""
    return -(-max(k_BMGK.shape[-1], v_BMGV.shape[-1]) // 8) * 8


@functools.cache
def _cudnn_is_there() -> bool:
    """JAX refuses even to trace cuDNN's attention where it finds no cuDNN."""
    x_BLHK = jax.ShapeDtypeStruct((1, 64, 1, 64), "bfloat16")
    try:
        jax.eval_shape(functools.partial(jax.nn.dot_product_attention, implementation="cudnn"), *[x_BLHK] * 3)
    except RuntimeError:
        return False
    return True
