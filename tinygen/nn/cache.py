"""Keys and values that generation has seen already, so that a step computes one token only."""

from __future__ import annotations

from typing import Any

from .. import backend
from ..constants import beside
from ..grad_mode import is_grad_enabled
from ..tensor import Tensor

__all__ = ["DecodingCache", "KVCache", "LayerCache"]


class KVCache:
    """The keys and values of one attention layer: (N, H, S, D), growing along S.

    Memory doubles when it is full, so that appending n tokens one by one copies O(n) numbers.
    No gradients flow through a cache: use it under `tg.no_grad()`.

    Args:
        static: what is appended first stays: the keys of an encoder's output, which every step
            of the decoder uses again.

    >>> import tinygen as tg
    >>> cache = KVCache()
    >>> for _ in range(3):
    ...     keys, values = cache.append(tg.ones((1, 2, 1, 4)), tg.ones((1, 2, 1, 4)))
    >>> keys.shape, cache.length
    ((1, 2, 3, 4), 3)
    """

    def __init__(self, static: bool = False):
        self.static = static
        self.length = 0
        self._stores: list[Any] = []     # arrays (N, H, capacity, D) of keys and of values

    def append(self, keys: Any, values: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values (N, H, L, D) at the end; returns all of them.

        Raises:
            RuntimeError: they require grad, or the cache is static and full.
            ValueError: they differ from what is in the cache in another axis than the length.
        """
        if (getattr(keys, "requires_grad", False)
                or getattr(values, "requires_grad", False)) and is_grad_enabled():
            raise RuntimeError("[KVCache] the keys require grad, and no gradient flows through a "
                               "cache: decode under tg.no_grad()")
        if self.static and self.length:
            raise RuntimeError("[KVCache] a static cache is filled once")
        new = [x.data if isinstance(x, Tensor) else x for x in (keys, values)]
        shape = new[0].shape
        if len(shape) != 4 or shape[:3] != new[1].shape[:3]:
            raise ValueError(f"[KVCache] keys and values must be (N, H, L, D), got {shape} and "
                             f"{new[1].shape}")
        start, end = self.length, self.length + shape[2]
        self._reserve(new, end)
        for store, x in zip(self._stores, new):
            store[:, :, start:end] = x
        self.length = end
        of_keys, of_values = self._stores
        return Tensor.wrap(of_keys[:, :, :end]), Tensor.wrap(of_values[:, :, :end])

    def _reserve(self, new: list[Any], needed: int) -> None:
        """Room for the new keys and values, `needed` tokens in all."""
        if not self._stores:
            xp = backend.array_module(new[0])
            self._stores = [xp.empty((*x.shape[:2], needed, x.shape[3]), x.dtype) for x in new]
        for i, x in enumerate(new):
            store = self._stores[i]
            (n, h, room, d), (n_new, h_new, _, d_new) = store.shape, x.shape
            if n != n_new or h != h_new or d != d_new or store.dtype != x.dtype:
                raise ValueError(f"[KVCache] holds (N, H, D) = {(n, h, d)} {store.dtype}, got "
                                 f"{(n_new, h_new, d_new)} {x.dtype}; use a new cache for another "
                                 "batch")
            if needed > room:
                xp = backend.array_module(store)
                wide = xp.empty((n, h, max(needed, 2 * room), d), store.dtype)
                wide[:, :, :self.length] = store[:, :, :self.length]
                self._stores[i] = wide

    @property
    def keys(self) -> Tensor:
        """All keys, (N, H, length, D)."""
        return Tensor.wrap(self._filled()[0][:, :, :self.length])

    @property
    def values(self) -> Tensor:
        """All values, (N, H, length, D)."""
        return Tensor.wrap(self._filled()[1][:, :, :self.length])

    def _filled(self) -> list[Any]:
        if not self._stores:
            raise RuntimeError("[KVCache] the cache is empty")
        return self._stores

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens; a negative number forgets that many."""
        if self.static:
            return
        kept = length if length >= 0 else self.length + length
        if not 0 <= kept <= self.length:
            raise ValueError(f"[KVCache] cannot crop {self.length} tokens to {length}")
        self.length = kept

    def reorder(self, rows: Any) -> None:
        """Sequence i becomes what sequence `rows[i]` was, as beam search needs; the number of
        sequences may change."""
        index = rows.data if isinstance(rows, Tensor) else rows
        self._stores = [store[beside(index, store)] for store in self._stores]

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"KVCache(length={self.length}{', static=True' if self.static else ''})"


class LayerCache:
    """The caches of one transformer layer: `self_attn`, and `cross_attn` for the memory."""

    def __init__(self) -> None:
        self.self_attn = KVCache()
        self.cross_attn = KVCache(static=True)


class DecodingCache:
    """The caches of a stack of layers, changed together.

    >>> cache = DecodingCache(num_layers=6)
    >>> cache.length
    0
    """

    def __init__(self, num_layers: int):
        self.layers = [LayerCache() for _ in range(num_layers)]

    @property
    def length(self) -> int:
        """How many tokens the layers have seen."""
        return self.layers[0].self_attn.length if self.layers else 0

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens (see `KVCache.crop`)."""
        for layer in self.layers:
            layer.self_attn.crop(length)

    def reorder(self, rows: Any) -> None:
        """Sequence i becomes what sequence `rows[i]` was, in every layer."""
        for layer in self.layers:
            layer.self_attn.reorder(rows)
            layer.cross_attn.reorder(rows)

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"DecodingCache(num_layers={len(self.layers)}, length={self.length})"
