"""Which moment of a video is a sentence about? Cross-attention from the words to the frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn, ops, optim
from ..nn import functional as F
from ..ops.host import numpy_function
from ..tensor import Tensor
from .base import check_positive, inference, learnt

__all__ = ["VideoMoments"]


class VideoMoments(nn.Module):
    """Videos (N, T, C, H, W) and sentences (N, Q, L) to logits over the frames (N, Q, 3, T).

    Frames: a small network of convolutions sees each frame t with its neighbours t - 1 and t + 1,
    so that motion is visible; then frames attend to each other. Words do so too. Then

    - cross-attention: queries from the words, keys and values from the frames;
    - three more queries of the sentence that this makes, whose weights over the frames are the
      answer: a_k = softmax(q_k h) for the first frame of the moment, its last one, and all of it.

    The loss is the mean cross entropy of the first two against the true frames, plus that of the
    third against equal weights within the moment. Token 0 is padding.

    Args:
        vocab_size: how many tokens there are, padding included.
        image_shape: (C, H, W) of a frame.
        frames: the longest video, T.
        longest: the longest sentence, L.
        width, heads, layers: of the transformer over the frames; that over words has one layer.
        channels: of the first convolution; the others have twice as many.
        dropout: in the transformer layers.

    Sources: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (cross-attention);
    O. Vinyals et al., "Pointer Networks", NeurIPS 2015 (weights as the answer).

    >>> model = VideoMoments(9, (1, 16, 16), frames=6, longest=4, width=8, heads=2, channels=4)
    >>> model(np.zeros((2, 6, 1, 16, 16), "float32"), np.ones((2, 5, 4), int)).shape
    (2, 5, 3, 6)
    """

    name = "video-moments"

    def __init__(self, vocab_size: int, image_shape: tuple[int, int, int], *, frames: int = 26,
                 longest: int = 12, width: int = 64, heads: int = 4, layers: int = 2,
                 channels: int = 16, dropout: float = 0.0):
        super().__init__()
        check_positive(self.name, vocab_size=vocab_size, frames=frames, longest=longest,
                       width=width, heads=heads, layers=layers, channels=channels)
        self.image_shape, self.width = tuple(image_shape), width
        c, height, wide = self.image_shape
        flat = 2 * channels * -(-height // 8) * -(-wide // 8)
        self.look = nn.Sequential(
            nn.Conv2d(3 * c, channels, 5, 2, 2), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * channels, 2 * channels, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(flat, width))

        def transformer(depth: int) -> nn.TransformerEncoder:
            layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu",
                                               batch_first=True, norm_first=True)
            return nn.TransformerEncoder(layer, depth, nn.LayerNorm(width))
        self.times, self.watch = nn.LearnedPositions(frames, width), transformer(layers)
        self.words = nn.Embedding(vocab_size, width, padding_idx=0)
        self.places, self.read = nn.LearnedPositions(longest, width), transformer(1)
        for table in (self.words, self.times, self.places):
            nn.init.normal_(table.weight, 0.0, 0.1)
        self.cross = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.point = nn.Linear(width, 3 * width)

    def forward(self, videos: Any, sentences: Any) -> Tensor:
        """Logits over the frames (N, Q, 3, T): of the first frame, of the last, of all."""
        return self._find(videos, sentences)[0]

    def attention(self, videos: Any, sentences: Any) -> tuple[Tensor, Tensor]:
        """How much words look at each frame, (N, Q, L, T), and the answers (N, Q, 3, T).

        The first are the weights of the cross-attention, means over its heads; each row of either
        adds up to 1.
        """
        with inference(self):
            logits, weights = self._find(videos, sentences)
            return weights, F.softmax(logits, dim=-1)

    def moments(self, videos: Any, sentences: Any) -> np.ndarray:
        """The likeliest [start, end) for each sentence, int64 (N, Q, 2).

        Of all first frames s and last frames e with s <= e, those of the largest sum of log
        probabilities.
        """
        with inference(self):
            logits = F.log_softmax(self(videos, sentences), dim=-1).numpy()
        n, q, _, frames = logits.shape
        sums = logits[:, :, 0, :, None] + logits[:, :, 1, None, :]             # (N, Q, s, e)
        sums = np.where(np.tri(frames, k=-1, dtype=bool), -np.inf, sums)       # e < s
        best = sums.reshape(n, q, -1).argmax(axis=-1)
        return np.stack([best // frames, best % frames + 1], axis=-1)

    def configure_optimizers(self, lr: float | None = None) -> dict[str, optim.Optimizer]:
        """Adam with learning rate 1e-3."""
        return {"model": optim.Adam(learnt(self), lr=1e-3 if lr is None else lr)}

    def training_step(self, videos: Any, sentences: Any, moments: Any,
                      optimizers: dict[str, optim.Optimizer]) -> dict[str, Tensor]:
        """One update for true moments (N, Q, 2), [start, end); returns `loss`, in nats."""
        if not self.training:
            self.train()
        loss = self.loss(self(videos, sentences), moments)
        optimizers["model"].zero_grad()
        loss.backward()
        optimizers["model"].step()
        return {"loss": loss.detach()}

    def loss(self, logits: Tensor, moments: Any) -> Tensor:
        """The loss of logits (N, Q, 3, T) for true moments (N, Q, 2), a mean over sentences."""
        n, q, _, frames = logits.shape
        true = moments if isinstance(moments, Tensor) else Tensor(moments)
        if true.shape != (n, q, 2) or true.dtype.kind not in "iu":
            raise ValueError(f"[{self.name}] moments: {true.dtype} {true.shape}; integers "
                             f"({n}, {q}, 2), [start, end) for each sentence, are expected")
        host = true.data
        if isinstance(host, np.ndarray) and (                       # a GPU is not waited for
                (host[..., 0] < 0).any() or (host[..., 1] <= host[..., 0]).any()
                or host.max() > frames):
            raise ValueError(f"[{self.name}] moments: each must have 0 <= start < end <= {frames}")
        true = true.to(device=logits.device)
        start, end = true[..., :1], true[..., 1:]                              # (N, Q, 1)
        t = ops.arange(frames, device=logits.device)                           # (T,)
        within = ((t >= start) & (t < end)).astype(logits.dtype)               # (N, Q, T)
        goals = ops.stack([0.5 * ops.equal(t, start).astype(logits.dtype),
                           0.5 * ops.equal(t, end - 1).astype(logits.dtype),
                           within / within.sum(axis=-1, keepdims=True)], axis=2)
        return -(F.log_softmax(logits, dim=-1) * goals).sum() / (n * q)

    def _find(self, videos: Any, sentences: Any) -> tuple[Tensor, Tensor]:
        """The logits, and the weights of the cross-attention (N, Q, L, T)."""
        videos, sentences = self._inputs(videos, sentences)
        n, frames = videos.shape[:2]
        _, q, longest = sentences.shape
        before = ops.concat([videos[:, :1], videos[:, :-1]], axis=1)
        after = ops.concat([videos[:, 1:], videos[:, -1:]], axis=1)
        seen = ops.concat([before, videos, after], axis=2)                     # (N, T, 3C, H, W)
        x = self.look(seen.reshape(n * frames, *seen.shape[2:])).reshape(n, frames, self.width)
        h = self.watch(self.times(x))                                          # (N, T, W)
        padding = ops.equal(sentences, 0).reshape(n * q, longest)
        w = self.words(sentences.reshape(n * q, longest))
        w = self.read(self.places(w), src_key_padding_mask=padding)            # (N Q, L, W)
        # the sentences of one video look at the same frames: one long query (N, Q L, W) for each
        queries = w.reshape(n, q * longest, self.width)
        found, weights = self.cross(queries, h, h)                  # (N, Q L, W), (N, Q L, T)
        w = self.norm(queries + found).reshape(n, q, longest, self.width)
        kept = 1 - padding.astype(w.dtype).reshape(n, q, longest, 1)
        sentence = (w * kept).sum(axis=2) / kept.sum(axis=2)                   # (N, Q, W)
        pointers = self.point(sentence).reshape(n, q * 3, self.width)
        logits = pointers @ h.transpose((0, 2, 1)) * self.width ** -0.5        # (N, 3 Q, T)
        return logits.reshape(n, q, 3, frames), weights.reshape(n, q, longest, frames)

    def _inputs(self, videos: Any, sentences: Any) -> tuple[Tensor, Tensor]:
        videos, sentences = (x if isinstance(x, Tensor) else Tensor(x) for x in (videos, sentences))
        limit = self.times.weight.shape[0]
        if videos.ndim != 5 or videos.shape[2:] != self.image_shape or not (
                1 <= videos.shape[1] <= limit) or videos.dtype.kind not in "fV":
            raise ValueError(f"[{self.name}] videos: {videos.dtype} {videos.shape}; floats (N, T, "
                             f"{', '.join(map(str, self.image_shape))}) with T of at most {limit} "
                             "are expected")
        if sentences.ndim != 3 or len(sentences) != len(videos) or (
                sentences.dtype.kind not in "iu"):
            raise ValueError(f"[{self.name}] sentences: {sentences.dtype} {sentences.shape}; "
                             f"integers ({len(videos)}, Q, L), Q for each video, are expected")
        if sentences.device == "cpu":                        # a GPU is not waited for
            sentences = numpy_function(self._not_empty, sentences)
        device = self.times.weight.device
        return videos.to(device=device), sentences.to(device=device)

    def _not_empty(self, sentences: np.ndarray) -> np.ndarray:
        if not (sentences > 0).any(axis=-1).all():
            raise ValueError(f"[{self.name}] sentences: one has no words, padding alone")
        return sentences
