"""Fewer key/value heads for the weights of one attention: arrays in, arrays out, in float64.

What leaves a model as it was decides what may be moved between heads before they are merged. Values may go through any
invertible map if the output's weights go through its inverse. Keys without a position may do the same against the
queries. Rotary keys may not: position turns each pair of numbers by itself, so only one complex number a pair, a
rotation and a scale, may be moved between key and query.

So keys and values are blocks here, [D, heads, blocks, size]: a pair of a rotary key is a block of one complex number,
and any other head is one block of its real numbers. A pool gives every block of a head two maps to a shared block:
`write` makes it of keys, k' = sum of write^H k; `read` takes it for the key, k = read k', so a query is read^H q.

Letters: g the old heads of a group, S numbers of a block, T of the shared block, P blocks. D is the input of the
projections; where these have biases, the last of D is 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray

ROUNDS = 30  # of Procrustes, at most
RANK = 1e-12  # share of the largest eigenvalue below which a direction is not there
STILL = 1e-6  # change of a rotation at which Procrustes has ended


class Heads(NamedTuple):
    """The weights of one grouped attention: query head h reads write head h // (H / G)."""

    wq_DHK: Array
    wk_DGK: Array
    wv_DGV: Array
    wo_HVD: Array


class Moments(NamedTuple):
    """E[x x^T] of the projections' inputs: those that queries and those that rows are made of."""

    queries_DD: Array
    rows_DD: Array


class Block(NamedTuple):
    """One block of a group's heads: E[k_g k_g'^H], and for each head the sum of E[q q^H] over its queries."""

    keys_gSgS: Array
    readers_gSS: Array


Maps = tuple[Array, Array]  # write_gST, read_gST
Pool = Callable[[Block], Maps]


def mean(block: Block) -> Maps:
    """The mean of the heads (arXiv 2305.13245)."""
    g, S = block.readers_gSS.shape[:2]
    read = np.tile(np.eye(S), (g, 1, 1))
    return read / g, read


def first(block: Block) -> Maps:
    """The first head of the group."""
    write, read = mean(block)
    return write * len(write) * (np.arange(len(write)) == 0)[:, None, None], read


def procrustes(block: Block) -> Maps:
    """The mean of aligned heads.

    A head is made white first, which takes any invertible map out of it but for a rotation. The rotations are those
    that bring the heads nearest to their mean, found in turn (generalised Procrustes).
    """
    own_gSS = np.stack([block.keys_gSgS[n, :, n] for n in range(len(block.readers_gSS))])
    root, inverse = power(own_gSS, 0.5), power(own_gSS, -0.5)
    white_gSgS = _in_metric(block, inverse)
    turn = _rotation(white_gSgS[:, :, 0])  # nearest to the first head
    for _ in range(ROUNDS):
        before, turn = turn, _rotation(np.tensordot(white_gSgS, turn))
        if np.abs(turn - before).max() < STILL:
            break
    return inverse @ turn / len(turn), root @ turn


def principal(block: Block) -> Maps:
    """What changes the products of queries and keys least: the first principal directions of all the heads together,
    each in the metric of its queries."""
    root, inverse = power(block.readers_gSS, 0.5), power(block.readers_gSS, -0.5)
    g, S = root.shape[:2]
    _, vectors = np.linalg.eigh(_in_metric(block, root).reshape(g * S, g * S))
    first_gST = vectors[:, ::-1][:, :S].reshape(g, S, S)
    return root @ first_gST, inverse @ first_gST


POOLS: dict[str, Pool] = {"mean": mean, "first": first, "procrustes": procrustes, "activations": principal}


def pooled(heads: Heads, write_heads: int, pool: Pool, rotary: bool, moments: Moments | None = None) -> Heads:
    """The attention with that many write heads, each made of neighbours.

    Args:
      rotary: whether positions turn queries and keys.
      moments: of the inputs; None takes all their directions alike.
    """
    by_head = [blocks(heads.wq_DHK, rotary), blocks(heads.wk_DGK, rotary)]
    by_head += [blocks(np.moveaxis(heads.wo_HVD, 2, 0), False), blocks(heads.wv_DGV, False)]
    queries_DD, rows_DD = moments or (None, None)
    merged = []
    for q, k, o, v in zip(*(np.split(each, write_heads, axis=1) for each in by_head), strict=True):
        keys, values = _maps(q, k, pool, queries_DD, rows_DD), _maps(o, v, pool, None, rows_DD)
        merged.append((_read(q, keys), _written(k, keys), _read(o, values), _written(v, values)))
    wq_DHK, wk_DGK, wo_DHV, wv_DGV = (whole(np.concatenate(each, axis=1)) for each in zip(*merged, strict=True))
    return Heads(wq_DHK, wk_DGK, wv_DGV, np.moveaxis(wo_DHV, 0, 2))


class Latents(NamedTuple):
    """The weights of one latent attention without a norm (attention/latent.py)."""

    wq_DHK: Array
    wc_DC: Array
    wk_CHK: Array
    wv_CHV: Array


def factored(
    heads: Heads, rank: int, rotary_size: int = 0, turn_P: Array | None = None, moments: Moments | None = None
) -> Latents:
    """The attention with a latent of `rank` numbers: the principal directions of all its keys and values together.

    With rotary positions, the one rotary key is what is most alike in all heads, pair by pair. It has every n-th pair:
    those turn as fast as the pairs of a key of its size. What is left of the keys goes to the latent, where nothing
    turns. Of its turning it keeps the mean over all distances: near 1 for slow pairs, near 0 for fast ones.

    Args:
      rotary_size: numbers of the rotary key.
      turn_P: for each pair of a key, the mean of e^(-i angle) over the distances; None without rotary positions.
      moments: of the inputs; None takes all their directions alike.
    """
    (H, K), G = heads.wq_DHK.shape[1:], heads.wk_DGK.shape[1]
    queries_DD, rows_DD = moments or (None, None)
    wq_DHK, left_DGK, shared_DK = heads.wq_DHK, heads.wk_DGK, heads.wk_DGK[:, 0, :0]
    if turn_P is not None:
        k_DGPS = blocks(heads.wk_DGK, True)
        if rotary_size:
            some = slice(None, None, K // rotary_size)
            q_DHPS = blocks(heads.wq_DHK, True)[:, :, some]
            maps = _maps(q_DHPS, k_DGPS[:, :, some], principal, queries_DD, rows_DD)
            shared_D1PT = _written(k_DGPS[:, :, some], maps)
            for part, (_, read_gST), p in zip(range(rotary_size // 2), maps, range(K // 2)[some], strict=True):
                k_DGPS[:, :, p] -= np.einsum("dt,gst->dgs", shared_D1PT[:, 0, part], read_gST)
            wq_DHK = np.concatenate([wq_DHK, whole(_read(q_DHPS, maps))], axis=-1)
            shared_DK = whole(shared_D1PT)[:, 0]
        left_DGK = whole(k_DGPS * turn_P[:, None])
    parts = [(heads.wq_DHK, left_DGK, queries_DD), (np.moveaxis(heads.wo_HVD, 2, 0), heads.wv_DGV, None)]
    seen, back = [], []
    for q_DHK, k_DGK, moment_DD in parts:
        readers_GKK = _readers(q_DHK, G, moment_DD)
        k_DGK = _by_head(k_DGK, power(readers_GKK, 0.5))
        size = np.sqrt(max(np.sum(k_DGK * _times(rows_DD, k_DGK)), np.finfo(float).tiny))
        seen.append(k_DGK.reshape(len(k_DGK), -1) / size)
        back.append(power(readers_GKK, -0.5) * size)
    seen_DN = np.concatenate(seen, axis=1)
    _, vectors_NN = np.linalg.eigh(seen_DN.T @ _times(rows_DD, seen_DN))
    first_NC = vectors_NN[:, ::-1][:, :rank]
    wk_CHK, wv_CHV = (
        np.repeat(np.moveaxis(each @ part_NC.reshape(G, -1, rank), 2, 0), H // G, axis=1)
        for each, part_NC in zip(back, np.split(first_NC, [G * K]), strict=True)
    )
    return Latents(wq_DHK, np.concatenate([seen_DN @ first_NC, shared_DK], axis=1), wk_CHK, wv_CHV)


def blocks(w_DHK: Array, rotary: bool) -> Array:
    """[D, H, P, S]: the pairs of rotary heads as complex numbers, or each head whole."""
    if not rotary:
        return w_DHK[:, :, None]
    real, imaginary = np.split(w_DHK, 2, axis=-1)
    return (real + 1j * imaginary)[..., None]


def whole(w_DHPS: Array) -> Array:
    """The heads of some blocks."""
    if not np.iscomplexobj(w_DHPS):
        return w_DHPS[:, :, 0]
    return np.concatenate([np.real(w_DHPS)[..., 0], np.imag(w_DHPS)[..., 0]], axis=-1)


def power(matrix_gSS: Array, exponent: float) -> Array:
    """Hermitian matrices, positive but for rounding, to a power; a direction that is not there stays away."""
    values_gS, vectors_gSS = np.linalg.eigh(matrix_gSS)
    there = values_gS > RANK * values_gS.max(axis=-1, keepdims=True)
    raised_gS = np.where(there, np.where(there, values_gS, 1) ** exponent, 0)
    return (vectors_gSS * raised_gS[:, None]) @ np.moveaxis(vectors_gSS, 1, 2).conj()


def _in_metric(block: Block, map_gSS: Array) -> Array:
    """The block's moments of heads that went through Hermitian maps."""
    first_gSgS = np.moveaxis(np.moveaxis(block.keys_gSgS, 2, 1) @ map_gSS, 2, 1)
    return (map_gSS @ first_gSgS.reshape(*map_gSS.shape[:2], -1)).reshape(first_gSgS.shape)


def _rotation(matrix_gSS: Array) -> Array:
    """The unitary matrices that are nearest."""
    left, _, right = np.linalg.svd(matrix_gSS)
    return left @ right


def _maps(q_DHPS: Array, k_DgPS: Array, pool: Pool, queries_DD: Array | None, rows_DD: Array | None) -> list[Maps]:
    """A pool's maps of each of P blocks."""
    times_DgPS, found = _times(rows_DD, k_DgPS.conj()), []
    for p in range(k_DgPS.shape[2]):
        keys_gSgS = np.tensordot(k_DgPS[:, :, p], times_DgPS[:, :, p], axes=(0, 0))
        found.append(pool(Block(keys_gSgS, _readers(q_DHPS[:, :, p], k_DgPS.shape[1], queries_DD))))
    return found


def _readers(q_DHS: Array, heads: int, queries_DD: Array | None) -> Array:
    """The sum of E[q q^H] over the queries of each of so many heads."""
    by_head = (np.moveaxis(w, 1, 0).reshape(heads, -1, w.shape[-1]) for w in (q_DHS, _times(queries_DD, q_DHS.conj())))
    q_gNS, times_gNS = by_head
    return np.moveaxis(q_gNS, 1, 2) @ times_gNS


def _by_head(w_DHS: Array, map_HST: Array) -> Array:
    return np.moveaxis(np.moveaxis(w_DHS, 1, 0) @ map_HST, 0, 1)


def _times(moment_DD: Array | None, w: Array) -> Array:
    return w if moment_DD is None else np.tensordot(moment_DD, w, axes=1)


def _written(k_DgPS: Array, maps: list[Maps]) -> Array:
    """The shared blocks that are made of a group's heads, [D, 1, P, T]."""
    made = [np.tensordot(k_DgPS[:, :, p], write.conj()) for p, (write, _) in enumerate(maps)]
    return np.stack(made, axis=1)[:, None]


def _read(q_DHPS: Array, maps: list[Maps]) -> Array:
    """Queries of a group's heads as queries of the shared blocks."""
    by_head = [np.repeat(read, q_DHPS.shape[1] // len(read), axis=0).conj() for _, read in maps]
    return np.stack([_by_head(q_DHPS[:, :, p], read) for p, read in enumerate(by_head)], axis=2)
