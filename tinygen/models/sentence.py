"""Sentences as vectors: a BERT encoder whose token vectors are averaged, as in sentence-BERT.

Sources: J. Devlin et al., "BERT", NAACL 2019; N. Reimers and I. Gurevych, "Sentence-BERT", EMNLP
2019; W. Wang et al., "MiniLM", NeurIPS 2020, whose shape is the default.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn, ops
from ..grad_mode import no_grad
from ..nn.linear import count
from ..tensor import Tensor

__all__ = ["BERT_NAMES", "SentenceEncoder"]

_LAYER = r"encoder\.layer\.(\d+)\."
_HERE = r"encoder.layers.\1."

# The names of BERT in files of Hugging Face's transformers -> the names of SentenceEncoder.
BERT_NAMES = [
    nn.Rule(r"embeddings\.(word|position|token_type)_embeddings\.weight", r"\1_embeddings.weight"),
    nn.Rule(r"embeddings\.LayerNorm\.(weight|bias)", r"embedding_norm.\1"),
    *(nn.Rule(_LAYER + rf"attention\.self\.{name}\.(weight|bias)",
              _HERE + r"self_attn.in_proj_\2", part=(i, 3))
      for i, name in enumerate(("query", "key", "value"))),
    nn.Rule(_LAYER + r"attention\.output\.dense\.(weight|bias)", _HERE + r"self_attn.out_proj.\2"),
    nn.Rule(_LAYER + r"attention\.output\.LayerNorm\.(weight|bias)", _HERE + r"norm1.\2"),
    nn.Rule(_LAYER + r"intermediate\.dense\.(weight|bias)", _HERE + r"linear1.\2"),
    nn.Rule(_LAYER + r"output\.dense\.(weight|bias)", _HERE + r"linear2.\2"),
    nn.Rule(_LAYER + r"output\.LayerNorm\.(weight|bias)", _HERE + r"norm2.\2"),
    nn.Rule(r"embeddings\.position_ids|pooler\..*|cls\..*", None),   # not part of the encoder
]

POOLINGS = ("mean", "cls", "max")


class SentenceEncoder(nn.Module):
    """Token numbers (N, L) to one vector per sentence (N, hidden_size).

    Token, position and type embeddings are added and normalised; transformer layers with GELU and
    normalisation after each block follow; their outputs are pooled over the tokens that
    `attention_mask` marks. Arguments have the names of BERT's `config.json`.

    Args:
        pooling: "mean", "cls" (the first token's vector) or "max".
        normalize: divide each sentence's vector by its length.

    >>> import tinygen as tg
    >>> model = SentenceEncoder(vocab_size=100, hidden_size=8, num_hidden_layers=1,
    ...                         num_attention_heads=2, intermediate_size=16)
    >>> model(tg.Tensor([[5, 7, 2], [4, 2, 0]]), tg.Tensor([[1, 1, 1], [1, 1, 0]])).shape
    (2, 8)
    """

    def __init__(self, vocab_size: int = 30522, hidden_size: int = 384, num_hidden_layers: int = 6,
                 num_attention_heads: int = 12, intermediate_size: int = 1536,
                 max_position_embeddings: int = 512, type_vocab_size: int = 2,
                 layer_norm_eps: float = 1e-12, hidden_dropout_prob: float = 0.1,
                 hidden_act: str = "gelu", pooling: str = "mean", normalize: bool = False):
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"[SentenceEncoder] pooling must be one of {', '.join(POOLINGS)}, got "
                             f"{pooling!r}")
        self.max_length = count(max_position_embeddings, "SentenceEncoder",
                                "max_position_embeddings")
        self.pooling, self.normalize = pooling, normalize
        self.word_embeddings = nn.Embedding(vocab_size, hidden_size)
        self.position_embeddings = nn.Embedding(max_position_embeddings, hidden_size)
        self.token_type_embeddings = nn.Embedding(type_vocab_size, hidden_size)
        self.embedding_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.dropout = nn.Dropout(hidden_dropout_prob)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(
            hidden_size, num_attention_heads, intermediate_size, hidden_dropout_prob, hidden_act,
            layer_norm_eps, batch_first=True), num_hidden_layers)
        for p in self.parameters():      # BERT's start
            if p.ndim > 1:
                nn.init.trunc_normal_(p, std=0.02, a=-0.04, b=0.04)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> SentenceEncoder:
        """The model in a folder of Hugging Face: `config.json` and safetensors, in eval mode.

        Args:
            options: arguments of the model that the configuration does not settle, such as
                `pooling` and `normalize`.

        Raises:
            ValueError: the configuration is not one of BERT.
            RuntimeError: the weights do not fit; see `nn.load_weights`.
        """
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as stream:
            config = json.load(stream)
        if config.get("model_type", "bert") != "bert":
            raise ValueError(f"[SentenceEncoder] {os.fspath(folder)} holds a model of type "
                             f"{config['model_type']!r}; 'bert' is needed")
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError("[SentenceEncoder] position_embedding_type "
                             f"{config['position_embedding_type']!r}; 'absolute' is needed")
        known = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                 "intermediate_size", "max_position_embeddings", "type_vocab_size",
                 "layer_norm_eps", "hidden_dropout_prob", "hidden_act")
        model = cls(**{name: config[name] for name in known if name in config} | options)
        model.load_pretrained(folder)
        return model.eval()

    def load_pretrained(self, source: Any, strict: bool = True) -> nn.LoadResult:
        """Fill the model from a file, a folder or a mapping with BERT's names."""
        return nn.load_weights(self, source, rename=BERT_NAMES, prefix="bert.", strict=strict)

    def tokens(self, input_ids: Any, attention_mask: Any = None,
               token_type_ids: Any = None) -> Tensor:
        """One vector per token, (N, L, hidden_size).

        Args:
            input_ids: (N, L) integers.
            attention_mask: (N, L), 1 for a token and 0 for padding (default: all tokens).
            token_type_ids: (N, L), which of two texts a token belongs to (default: 0).
        """
        ids = input_ids if isinstance(input_ids, Tensor) else Tensor(input_ids)
        if ids.ndim != 2 or ids.shape[1] > self.max_length:
            raise ValueError("[SentenceEncoder] input_ids must be (N, L) with L at most "
                             f"{self.max_length}, got {ids.shape}")
        for name, other in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            if other is not None and np.shape(getattr(other, "data", other)) != ids.shape:
                raise ValueError(f"[SentenceEncoder] {name} must have the shape of input_ids, "
                                 f"{ids.shape}")
        positions = ops.arange(ids.shape[1], device=ids.device)
        types = ops.zeros_like(ids) if token_type_ids is None else token_type_ids
        x = (self.word_embeddings(ids) + self.token_type_embeddings(types)
             + self.position_embeddings(positions))
        x = self.dropout(self.embedding_norm(x))
        hidden = None if attention_mask is None else ops.equal(attention_mask, 0)
        return self.encoder(x, src_key_padding_mask=hidden)

    def forward(self, input_ids: Any, attention_mask: Any = None,
                token_type_ids: Any = None) -> Tensor:
        """One vector per sentence, (N, hidden_size); arguments as in `tokens`."""
        x = self.tokens(input_ids, attention_mask, token_type_ids)
        if attention_mask is None:
            attention_mask = ops.ones(x.shape[:2], dtype=x.dtype, device=x.device)
        if not isinstance(attention_mask, Tensor):
            attention_mask = Tensor(attention_mask)
        shown = ops.expand_dims(attention_mask.astype(x.dtype), -1)       # (N, L, 1)
        if self.pooling == "cls":
            y = x[:, 0]
        elif self.pooling == "mean":
            y = (x * shown).sum(axis=1) / ops.maximum(shown.sum(axis=1), 1e-9)
        else:
            y = ops.max(ops.where(ops.equal(shown, 0), -1e9, x), axis=1)
        if not self.normalize:
            return y
        return y / ops.maximum(ops.sqrt((y * y).sum(axis=-1, keepdims=True)), 1e-12)

    def encode(self, texts: Sequence[str], tokenizer: Any, batch_size: int = 32) -> np.ndarray:
        """Vectors of texts, (len(texts), hidden_size), in evaluation mode and without gradients.

        Args:
            tokenizer: one of the library `tokenizers`, as `Tokenizer.from_file("tokenizer.json")`.
        """
        training, vectors = self.training, []
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length)
        self.eval()
        try:
            with no_grad():
                for i in range(0, len(texts), batch_size):
                    found = tokenizer.encode_batch(list(texts[i:i + batch_size]))
                    ids = np.zeros((len(found), max(len(f.ids) for f in found)), np.int64)
                    mask, types = np.zeros_like(ids), np.zeros_like(ids)
                    for row, f in enumerate(found):
                        n = len(f.ids)
                        ids[row, :n], mask[row, :n], types[row, :n] = f.ids, 1, f.type_ids
                    vectors.append(self(Tensor(ids), Tensor(mask), Tensor(types)).numpy())
        finally:
            self.train(training)
        width = self.word_embeddings.embedding_dim
        return np.concatenate(vectors) if vectors else np.zeros((0, width), np.float32)
