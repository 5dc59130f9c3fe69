"""Attention: additive and boolean masks, causal or not, dropout, grouped and missing heads."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawing import Case, Sample, between, flags


def sample_with(kind):
    """Shapes of q, k, v that broadcast, a mask of `kind`, and a mask of what dropout keeps."""
    def sample(draw):
        lead = [tuple(draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 2))))]
        lead += [tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in lead[0]) for _ in range(3)]
        length, keys = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        width, out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        full = np.broadcast_shapes(*lead[:3])
        rows = draw(st.sampled_from([1, length]))
        shape = (*(1 if draw(st.booleans()) else n for n in full), rows, keys)[
            draw(st.integers(0, len(full))):]
        dropped = draw(st.booleans())
        makers = (between((*lead[0], length, width)), between((*lead[1], keys, width)),
                  between((*lead[2], keys, out)),
                  None if not kind else (flags if kind == "flags" else between)(shape),
                  kept((*full, length, keys)) if dropped else None)
        return Sample(makers, {"causal": draw(st.booleans()), "offset": draw(st.integers(-1, 2)),
                               "scale": draw(st.sampled_from([0.5, 1.0]))})
    return sample


def kept(shape):
    """What dropout multiplies by: 0 or 2."""
    return lambda rng: 2.0 * rng.integers(0, 2, shape)


def attention(q, k, v, mask=None, keep=None, *, causal, offset, scale):
    """Row by row, with the exponentials written out."""
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (q, k, v))
    full = (*lead, q.shape[-2], k.shape[-2])
    y, lse = np.zeros((*full[:-1], v.shape[-1])), np.zeros(full[:-1])
    for at in np.ndindex(full[:-1]):
        score = k[at[:-1]] @ q[at] * scale
        seen = np.arange(full[-1]) <= at[-1] + offset if causal else np.ones(full[-1], bool)
        if mask is not None:
            row = np.broadcast_to(mask, full)[at]
            seen = seen & row if mask.dtype == bool else seen
            score = score if mask.dtype == bool else score + row
        if not seen.any():
            continue
        weight = np.exp(score) * seen
        lse[at] = np.log(weight.sum())
        weight /= weight.sum()
        y[at] = (weight if keep is None else weight * keep[at]) @ v[at[:-1]]
    return y, lse


def heads_sample(draw):
    """A packed projection, and its number of heads."""
    heads, batch = draw(st.integers(1, 3)), draw(st.integers(0, 1))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), 3 * heads * draw(st.integers(1, 3)))
    return Sample((between(shape),), {"heads": heads, "batch": batch})


def split_heads(x, *, heads, batch):
    """Thirds of the last axis, cut in heads."""
    parts = (np.stack(np.split(part, heads, axis=-1)) for part in np.split(x, 3, axis=-1))
    return tuple(np.moveaxis(part, (1, 2)[batch], 0) for part in parts)


CASES = [
    Case("split_heads", heads_sample, split_heads),
    Case("attention", sample_with("numbers"), attention, inputs=(0, 1, 2, 3)),
    Case("attention", sample_with("flags"), attention, inputs=(0, 1, 2), note="flags"),
]
