"""Groups of pictures that look alike: by `near_duplicates.image_hash`, in any number that memory holds.

Two hashes that differ in at most `DISTANCE` of 256 bits agree in all bits of at least one of `DISTANCE` + 1 bands, so
only pictures that share a band are compared (Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index
hashing", 2012). The bits of a band are drawn from all over the hash: a plain edge then fills no band with zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..near_duplicates import COLOUR_DISTANCE

BITS, COLOURS = 32, 192
"""Bytes of a hash, and of its colours."""

DISTANCE = 10
"""Bits in which two pictures that look alike may differ, as when training data are held against a benchmark."""

MOST = 1_000_000
"""Pictures that are grouped; of more, none are."""

CROWD = 2_000
"""Of so many pictures that share a band only each and the next few are compared: they are all of one plain kind."""

Bytes = NDArray[np.uint8]


def alike(looks: Bytes) -> NDArray[np.int64]:
    """(n, 224) hashes -> (n,): the number of each picture's group, from 0. Likeness is passed on: a group may hold two
    pictures that are only alike to a third."""
    if not len(looks):
        return np.zeros(0, dtype=np.int64)
    whole = np.ascontiguousarray(looks).view(f"V{looks.shape[1]}").ravel()
    _, first, of = np.unique(whole, return_index=True, return_inverse=True)
    groups: NDArray[np.int64] = _alike(looks[first])[of]
    return groups


def _alike(looks: Bytes) -> NDArray[np.int64]:
    """As `alike`, of hashes that all differ."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(looks)
    order = np.random.default_rng(0).permutation(8 * BITS)
    bits = np.unpackbits(looks[:, :BITS], axis=1)[:, order]
    pairs: list[NDArray[np.int64]] = []
    for band in np.array_split(bits, DISTANCE + 1, axis=1):
        keys = np.ascontiguousarray(np.packbits(band, axis=1)).view(f"V{-(-band.shape[1] // 8)}").ravel()
        _, of = np.unique(keys, return_inverse=True)
        ranked = np.argsort(of, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(of[ranked]) > 0])
        sizes = np.diff(np.r_[starts, count])
        most = int(np.minimum(sizes, CROWD).max())
        for step in range(1, most):
            place = np.flatnonzero(_room(starts, sizes, step))
            if not len(place):
                break
            pairs.append(_near(looks, ranked[place], ranked[place + step]))
    found = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), dtype=np.int64)
    links: Any = coo_matrix((np.ones(found.shape[1], dtype=bool), (found[0], found[1])), shape=(count, count))
    groups: NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return groups


def _room(starts: NDArray[np.int64], sizes: NDArray[np.int64], step: int) -> NDArray[np.bool_]:
    """Which places, in the order of a band, have another of the same key so many steps on."""
    ends = np.repeat(starts + sizes, sizes)
    return np.asarray(np.arange(len(ends)) + step < ends)


def _near(looks: Bytes, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the pairs that are alike, (2, pairs)."""
    kept = []
    for start in range(0, len(first), 50_000):
        one, other = first[start : start + 50_000], second[start : start + 50_000]
        apart = np.bitwise_count(looks[one, :BITS] ^ looks[other, :BITS]).sum(axis=1)
        close = apart <= DISTANCE
        one, other = one[close], other[close]
        colours = np.abs(looks[one, BITS:].astype(np.int16) - looks[other, BITS:]).mean(axis=1) <= COLOUR_DISTANCE
        kept.append(np.stack([one[colours], other[colours]]))
    return np.concatenate(kept, axis=1)
