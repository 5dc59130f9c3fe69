"""Pictures and texts in one space: two towers, and cross-attention that compares a pair closely."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn, ops, optim, random
from ..nn import functional as F
from ..ops.host import numpy_function
from ..tensor import Tensor
from .base import check_image_shape, check_positive, inference, learnt

__all__ = ["ImageEncoder", "ImageTextMatcher", "TextEncoder", "attention_weights"]

FAR = -1e4          # a score below all others


class ImageEncoder(nn.Module):
    """Pictures (N, C, H, W) to regions (N, R, width), which know where they are and of each other.

    For each of `channels`: a convolution, batch norm and ReLU that halve the map; the first one is
    5x5 with stride 2, the others are 3x3, with max pooling. What is left, R = h w places, gets
    learnt positions and passes through transformer layers.
    """

    def __init__(self, image_shape: Sequence[int], width: int = 96,
                 channels: Sequence[int] = (16, 32, 64), *, heads: int = 4, layers: int = 1,
                 dropout: float = 0.0):
        super().__init__()
        self.image_shape = check_image_shape("image-encoder", image_shape)
        check_positive("image-encoder", width=width, heads=heads)
        before, height, wide = self.image_shape
        times = len(channels)
        if not channels or min(height, wide) >> times < 1 or height % 2 or wide % 2:
            raise ValueError(f"[image-encoder] channels={tuple(channels)} halve a map {times} "
                             f"times, and {height}x{wide} has to be even and large enough for it")
        self.grid = (height >> times, wide >> times)
        parts: list[nn.Module] = []
        for i, count in enumerate(channels):
            size, stride = (3, 1) if i else (5, 2)
            parts += [nn.Conv2d(before, count, size, stride, size // 2, bias=False),
                      nn.BatchNorm2d(count), nn.ReLU(), *([nn.MaxPool2d(2)] if i else [])]
            before = count
        self.convolutions = nn.Sequential(*parts)
        self.project = nn.Linear(before, width)
        self.positions = nn.LearnedPositions(self.grid[0] * self.grid[1], width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu",
                                           batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        nn.init.normal_(self.positions.weight, 0.0, 0.1)

    def forward(self, images: Any) -> Tensor:
        images = images if isinstance(images, Tensor) else Tensor(images)
        if images.shape[1:] != self.image_shape or images.ndim != 4:
            raise ValueError(f"[image-encoder] images: {images.shape}; (N, "
                             f"{', '.join(map(str, self.image_shape))}) are expected")
        maps = self.convolutions(images)                                     # (N, c, h, w)
        places = ops.permute_dims(maps.reshape(*maps.shape[:2], -1), (0, 2, 1))   # (N, R, c)
        return self.body(self.positions(self.project(places)))               # (N, R, W)


class TextEncoder(nn.Module):
    """Token numbers (N, L), padded with 0, to states (N, L, width): a transformer's encoder."""

    def __init__(self, vocab_size: int, width: int = 96, *, heads: int = 4, layers: int = 1,
                 longest: int = 40, dropout: float = 0.0):
        super().__init__()
        check_positive("text-encoder", vocab_size=vocab_size, width=width, heads=heads,
                       longest=longest)
        self.longest = longest
        self.words = nn.Embedding(vocab_size, width, padding_idx=0)
        self.positions = nn.LearnedPositions(longest, width)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu",
                                           batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        for table in (self.words, self.positions):
            nn.init.normal_(table.weight, 0.0, 0.1)

    def forward(self, tokens: Any) -> Tensor:
        x = self.dropout(self.positions(self.words(tokens)))                 # (N, L, W)
        return self.body(x, src_key_padding_mask=ops.equal(tokens, 0))


class ImageTextMatcher(nn.Module):
    """Which text belongs to which picture: quickly by two towers, closely by cross-attention.

    Each tower turns its input into one vector, and s_ij = exp(t) u_i . v_j with unit vectors u of
    pictures and v of texts. The contrastive loss is

    -1/2 mean_i (log softmax_j(s)_ii + log softmax_i(s)_ii),

    over a batch, without pairs of one group off the diagonal: these words fit that picture too. t
    is learnt. For the matching loss the words of a pair attend to the regions of its picture, and
    the mean of their states decides whether the two belong together (binary cross entropy), for
    each pair of the batch and for two wrong ones: with a text and with a picture drawn by
    softmax(s). With a `mask` token the same layers learn sooner where to look: a share of the words
    is hidden and guessed from the others and the picture (cross entropy).

    Args:
        image_shape: (C, H, W). vocab_size: how many tokens there are, padding (0) included.
        mask: the token that stands for a hidden word; without it no words are guessed.
        masked: the share of words that are hidden.
        width, heads: of all transformer layers. dim: the length of the towers' vectors.
        channels: of the convolutions, see `ImageEncoder`.
        text_layers, fusion_layers: how many layers read the text, and compare it with the picture.
        longest: the longest text.
        temperature: exp(-t) at the start.

    Sources: A. Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision" (CLIP), ICML 2021; J. Li et al., "Align before Fuse" (ALBEF), NeurIPS 2021.

    >>> model = ImageTextMatcher((1, 8, 8), 9, width=8, heads=2, channels=(4,))
    >>> model.similarity(np.zeros((2, 1, 8, 8), np.float32), [[1, 4, 2], [1, 2, 0]]).shape
    (2, 2)
    """

    name = "image-text-matcher"

    def __init__(self, image_shape: Sequence[int], vocab_size: int, *, mask: int | None = None,
                 masked: float = 0.4, width: int = 96, heads: int = 4, dim: int = 128,
                 channels: Sequence[int] = (16, 32, 64), text_layers: int = 1,
                 fusion_layers: int = 1, longest: int = 40, dropout: float = 0.0,
                 temperature: float = 0.07):
        super().__init__()
        check_positive(self.name, dim=dim, fusion_layers=fusion_layers)
        self.images = ImageEncoder(image_shape, width, channels, heads=heads, dropout=dropout)
        self.texts = TextEncoder(vocab_size, width, heads=heads, layers=text_layers,
                                 longest=longest, dropout=dropout)
        self.image_head, self.text_head = nn.Linear(width, dim), nn.Linear(width, dim)
        self.log_scale = nn.Parameter(ops.full((1,), math.log(1 / temperature)))
        layer = nn.TransformerDecoderLayer(width, heads, 2 * width, dropout, "gelu",
                                           batch_first=True, norm_first=True)
        self.fusion = nn.TransformerDecoder(layer, fusion_layers, nn.LayerNorm(width))
        self.decide = nn.Linear(width, 1)
        self.mask, self.masked = mask, masked
        self.guess = None if mask is None else nn.Linear(width, vocab_size)

    # -- the towers --------------------------------------------------------------------------------

    def encode_images(self, images: Any) -> tuple[Tensor, Tensor]:
        """Regions (N, R, W) and unit vectors (N, D) of pictures (N, C, H, W) in [0, 1]."""
        regions = self.images(images)
        return regions, F.normalize(self.image_head(regions.mean(axis=1)), dim=-1)

    def encode_texts(self, tokens: Any) -> tuple[Tensor, Tensor]:
        """States (N, L, W) and unit vectors (N, D) of tokens (N, L)."""
        tokens = self._tokens(tokens)
        states = self.texts(tokens)                                          # (N, L, W)
        return states, F.normalize(self.text_head(_mean(states, tokens)), dim=-1)

    def match(self, regions: Any, states: Any, tokens: Any) -> Tensor:
        """How well text i fits picture i, logits (N,): words attend to words, then to regions."""
        return self.decide(_mean(self._fuse(regions, states, tokens), tokens))[:, 0]

    def _fuse(self, regions: Any, states: Any, tokens: Any) -> Tensor:
        return self.fusion(states, regions, tgt_key_padding_mask=ops.equal(tokens, 0))

    # -- learning ----------------------------------------------------------------------------------

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """AdamW with learning rate 1e-3 and decay 0.01."""
        return {"model": optim.AdamW(learnt(self), lr=1e-3 if lr is None else lr)}

    def losses(self, images: Any, tokens: Any, groups: Any = None) -> dict[str, Tensor]:
        """`loss` and its parts `contrastive`, `matching` and, with a mask token, `words`, in nats.

        Means over a batch of N pairs (`words`: over the hidden words).

        Args:
            images: (N, C, H, W). tokens: (N, L). groups: (N,), pictures that the same texts fit.

        Raises:
            ValueError: shapes do not fit, or all pairs are of one group, so that none is wrong.
        """
        tokens = self._tokens(tokens)
        regions, u = self.encode_images(images)
        states, v = self.encode_texts(tokens)
        same = self._same(len(u), len(v), groups)                            # (N, N)
        scores = ops.exp(self.log_scale) * (u @ v.T)
        others = ops.logical_not(ops.eye(len(same), dtype=bool, device=scores.device))
        scores = ops.where(ops.logical_and(same, others), FAR, scores)
        own = ops.arange(len(same), device=scores.device)
        contrastive = 0.5 * (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own))
        other_text, other_image = _hard(scores, same), _hard(scores.T, same)      # (N,) twice
        logits = self.match(ops.concat([regions, regions, regions[other_image]], 0),
                            ops.concat([states, states[other_text], states], 0),
                            ops.concat([tokens, tokens[other_text], tokens], 0))  # (3 N,)
        rows = ops.arange(3 * len(same), device=logits.device)
        targets = ops.less(rows, len(same)).astype(logits.dtype)
        matching = F.binary_cross_entropy_with_logits(logits, targets)
        found = {"contrastive": contrastive, "matching": matching}
        if self.guess is not None:
            found["words"] = self._guess_words(regions, tokens)
        return {"loss": ops.stack(list(found.values())).sum(), **found}

    def _guess_words(self, regions: Tensor, tokens: Tensor) -> Tensor:
        """The cross entropy of hidden words, from what is left of the text and the picture."""
        assert self.guess is not None
        drawn = ops.less(random.rand(tokens.shape, device=tokens.device), self.masked)
        hidden = ops.logical_and(drawn, ops.not_equal(tokens, 0))            # (N, L)
        seen = ops.where(hidden, self.mask, tokens)
        logits = self.guess(self._fuse(regions, self.texts(seen), tokens))   # (N, L, V)
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]),
                               ops.where(hidden, tokens, 0).reshape(-1), ignore_index=0)

    def training_step(self, images: Any, tokens: Any, groups: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update from a batch of pairs; returns the losses."""
        if not self.training:
            self.train()
        losses = self.losses(images, tokens, groups)
        optimizers["model"].zero_grad()
        losses["loss"].backward()
        optimizers["model"].step()
        return {name: value.detach() for name, value in losses.items()}

    # -- searching ---------------------------------------------------------------------------------

    def similarity(self, images: Any, tokens: Any, batch: int = 128) -> np.ndarray:
        """The cosine of each picture's and each text's vector, (N, M), by the towers alone."""
        return self._all_images(images, batch)[1] @ self._all_texts(tokens, batch)[1].T

    def rerank(self, images: Any, tokens: Any, similarity: np.ndarray, k: int = 16,
               batch: int = 128) -> np.ndarray:
        """A similarity (N, M) whose likeliest pairs were also compared by cross-attention.

        The pairs are the `k` best of each row and of each column of the towers' `similarity`; they
        get s_ij + match_ij. The wrong pairs that `match` has learnt from are drawn by softmax(s),
        so that at its best it says how much likelier a pair is than the towers take it to be: the
        two have to be added. All other pairs stand behind them, in the order of the towers.
        """
        regions, u = self._all_images(images, batch)
        states, v = self._all_texts(tokens, batch)
        tokens = np.asarray(tokens)
        if similarity.shape != (len(u), len(v)):
            raise ValueError(f"[{self.name}] similarity: {similarity.shape}; ({len(u)}, {len(v)}) "
                             "is expected")
        near = np.zeros(similarity.shape, bool)
        for axis in (0, 1):
            best = np.argsort(-similarity, axis=axis, kind="stable")
            first = best.take(np.arange(min(k, best.shape[axis])), axis)
            np.put_along_axis(near, first, True, axis)
        scale = math.exp(self.log_scale.item())
        out = FAR + scale * similarity.astype(np.float64)
        rows, columns = np.nonzero(near)
        with inference(self):
            for start in range(0, len(rows), batch):
                i, j = rows[start:start + batch], columns[start:start + batch]
                match = self.match(Tensor(regions[i]), Tensor(states[j]), Tensor(tokens[j]))
                out[i, j] += match.numpy().astype(np.float64) - FAR
        return out

    def attention(self, images: Any, tokens: Any) -> np.ndarray:
        """How much each word looks at each region in the last layer, (N, L, R); rows add to 1."""
        tokens = self._tokens(tokens)
        with inference(self):
            regions, _ = self.encode_images(images)
            states, _ = self.encode_texts(tokens)
            return attention_weights(self.fusion.layers[-1].multihead_attn,
                                     lambda: self.match(regions, states, tokens))

    def _all_images(self, images: Any, batch: int) -> tuple[np.ndarray, np.ndarray]:
        return self._in_batches(self.encode_images, images, batch)

    def _all_texts(self, tokens: Any, batch: int) -> tuple[np.ndarray, np.ndarray]:
        return self._in_batches(self.encode_texts, np.asarray(tokens), batch)

    def _in_batches(self, encode: Callable[[Any], Any], inputs: Any,
                    batch: int) -> tuple[np.ndarray, np.ndarray]:
        with inference(self):
            parts = [encode(inputs[i:i + batch]) for i in range(0, len(inputs), batch)]
        return tuple(np.concatenate([p[i].numpy() for p in parts])  # type: ignore[return-value]
                     for i in range(2))

    # -- what does not fit -------------------------------------------------------------------------

    def _tokens(self, tokens: Any) -> Tensor:
        tokens = tokens if isinstance(tokens, Tensor) else Tensor(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not (
                0 < tokens.shape[1] <= self.texts.longest):
            raise ValueError(f"[{self.name}] tokens: {tokens.dtype} {tokens.shape}; integers "
                             f"(N, L) with L from 1 to longest={self.texts.longest} are expected")
        return tokens.to(device=self.log_scale.device)

    def _same(self, n: int, m: int, groups: Any) -> Tensor:
        """(N, N), true where text j is right for picture i."""
        device = self.log_scale.device
        groups = ops.arange(n, device=device) if groups is None else ops.asarray(groups)
        if n != m or groups.shape != (n,):
            raise ValueError(f"[{self.name}] {n} images, {m} texts, groups {groups.shape}: one "
                             "text and one group for each image are expected")
        same = ops.equal(groups[:, None], groups[None, :])
        if groups.device == "cpu" or n == 1:                        # a GPU is not waited for
            same = numpy_function(self._mixed, same)
        return same.to(device=device)

    def _mixed(self, same: np.ndarray) -> np.ndarray:
        if same.all(axis=1).any():
            raise ValueError(f"[{self.name}] all {len(same)} pairs of the batch are of one group: "
                             "there is no wrong pair to learn from")
        return same


def _mean(states: Tensor, tokens: Any) -> Tensor:
    """The mean of the states (N, L, W) of tokens that are no padding: (N, W)."""
    real = ops.expand_dims(ops.not_equal(tokens, 0), -1).astype(states.dtype)
    return (states * real).sum(axis=1) / real.sum(axis=1)


def _hard(scores: Tensor, same: Tensor) -> Tensor:
    """A wrong candidate for each row, drawn by the softmax of its scores: (N,)."""
    u = random.rand(scores.shape, device=scores.device).clip(1e-12, 1 - 1e-7)
    noise = -ops.log(-ops.log(u))                                            # Gumbel's
    return ops.where(same, 2 * FAR, scores.detach() + noise).argmax(axis=1)


def attention_weights(layer: nn.MultiheadAttention, run: Callable[[], Any]) -> np.ndarray:
    """The weights (N, L, S) of an attention layer while `run()` calls it, a mean over its heads.

    Layers of a transformer do not keep them: what the layer was called with is caught, and it is
    called again.

    Raises:
        RuntimeError: `run()` did not call the layer.
    """
    calls: list[Any] = []
    handle = layer.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    if not calls:
        raise RuntimeError("[attention_weights] the layer was not called")
    args, kwargs = calls[-1]
    with inference(layer):
        return layer(*args, **{**kwargs, "need_weights": True})[1].numpy()
