"""A BERT sentence encoder loaded from PyTorch's weights gives PyTorch's sentence vectors."""

import json
import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import SentenceEncoder

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
F = torch.nn.functional

LAYERS, WIDTH, HEADS, INNER, VOCAB, POSITIONS = 6, 384, 12, 1536, 50, 32


def bert_weights(seed=0):
    """Weights of BERT in the shape of MiniLM, under the names that Hugging Face gives them."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, std=0.05):
        return torch.randn(*shape, generator=g) * std

    state = {"embeddings.position_ids": torch.arange(POSITIONS)[None],
             "pooler.dense.weight": normal(WIDTH, WIDTH), "pooler.dense.bias": normal(WIDTH)}

    def norm(name):
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + normal(WIDTH), normal(WIDTH)

    def dense(name, n, m):
        state[f"{name}.weight"], state[f"{name}.bias"] = normal(n, m), normal(n)
    for name, rows in (("word", VOCAB), ("position", POSITIONS), ("token_type", 2)):
        state[f"embeddings.{name}_embeddings.weight"] = normal(rows, WIDTH, std=1.0)
    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{layer}.attention.{name}", WIDTH, WIDTH)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", INNER, WIDTH)
        dense(f"{layer}.output.dense", WIDTH, INNER)
        norm(f"{layer}.output.LayerNorm")
    return state


def reference(w, ids, mask, types):
    """Token vectors in plain PyTorch, every step written out."""
    def dense(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        return F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    def heads(x):
        return x.reshape(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)
    x = (w["embeddings.word_embeddings.weight"][ids]
         + w["embeddings.position_embeddings.weight"][:ids.shape[1]]
         + w["embeddings.token_type_embeddings.weight"][types])
    x = norm("embeddings.LayerNorm", x)
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        q, k, v = (heads(dense(f"{layer}.attention.self.{n}", x))
                   for n in ("query", "key", "value"))
        scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        scores = scores.masked_fill(mask[:, None, None] == 0, -math.inf)
        context = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        x = norm(f"{layer}.attention.output.LayerNorm",
                 x + dense(f"{layer}.attention.output.dense", context))
        inner = F.gelu(dense(f"{layer}.intermediate.dense", x))
        x = norm(f"{layer}.output.LayerNorm", x + dense(f"{layer}.output.dense", inner))
    return x


CONFIG = {"model_type": "bert", "vocab_size": VOCAB, "hidden_size": WIDTH, "hidden_act": "gelu",
          "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": INNER,
          "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
          "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "pad_token_id": 0}


def inputs():
    rng = np.random.default_rng(0)
    mask = (np.arange(9) < np.array([[9], [4], [1]])).astype("i8")
    return rng.integers(0, VOCAB, (3, 9)) * mask, mask, rng.integers(0, 2, (3, 9)) * mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from safetensors.torch import save_file
    folder = tmp_path_factory.mktemp("minilm")
    save_file(bert_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_sentence_vectors_equal_pytorchs(folder):
    ids, mask, types = inputs()
    x = reference(bert_weights(), *(torch.tensor(a) for a in (ids, mask, types))).numpy()
    m = mask[..., None]
    pooled = {"mean": (x * m).sum(1) / m.sum(1), "cls": x[:, 0],
              "max": np.where(m == 1, x, -np.inf).max(1)}
    model = SentenceEncoder.from_pretrained(folder)
    assert not model.training
    with tg.no_grad():
        tokens = model.tokens(tg.Tensor(ids), tg.Tensor(mask), tg.Tensor(types))
        assert np.abs((tokens.data - x) * m).max() < 1e-5
        for name, expected in pooled.items():
            for normalize in (False, True):
                model.pooling, model.normalize = name, normalize
                y = model(tg.Tensor(ids), tg.Tensor(mask), tg.Tensor(types)).data
                length = np.linalg.norm(expected, axis=1, keepdims=True) if normalize else 1
                assert y.dtype == np.float32
                assert np.abs(y - expected / length).max() < 1e-5, name


def test_prefixed_names_padding_and_default_arguments(folder):
    small = SentenceEncoder.from_pretrained(folder)
    state = {f"bert.{k}": v for k, v in bert_weights().items()} | {"cls.bias": torch.zeros(3)}
    other = SentenceEncoder(VOCAB, max_position_embeddings=POSITIONS).eval()
    other.load_pretrained(state)
    ids, mask, _ = inputs()
    with tg.no_grad():
        a = small(tg.Tensor(ids), tg.Tensor(mask)).data
        b = other(tg.Tensor(ids[1:2, :4])).data        # the same sentence without its padding
    np.testing.assert_allclose(a[1:2], b, atol=1e-5)


def test_encode_takes_texts_and_a_tokenizer(folder):
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "a": 1, "red": 2, "green": 3, "car": 4, "tree": 5, "is": 6, "not": 7}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model = SentenceEncoder.from_pretrained(folder, normalize=True).train()
    texts = ["a red car", "a green tree is not a car", "tree", "a red car"]
    vectors = model.encode(texts, tokenizer, batch_size=3)
    assert vectors.shape == (4, WIDTH) and model.training
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-6)
    assert vectors[0] @ vectors[1] < 0.999
    assert model.encode([], tokenizer).shape == (0, WIDTH)


def test_what_does_not_fit_is_said(folder, tmp_path):
    model = SentenceEncoder(VOCAB, 8, 1, 2, 16, 4)
    with pytest.raises(RuntimeError) as caught:
        model.load_pretrained(folder)
    text = str(caught.value)
    assert "nothing was loaded into SentenceEncoder" in text
    assert ("encoder.layers.0.self_attn.in_proj_weight (from encoder.layer.0.attention.self.query."
            "weight, encoder.layer.0.attention.self.key.weight, encoder.layer.0.attention.self."
            "value.weight): shape (1152, 384) in the state dict, (24, 8) in the module") in text
    unexpected = next(line for line in text.splitlines() if "unexpected keys: " in line)
    assert all(f"encoder.layer.{i}.output.dense.bias" in unexpected for i in range(1, LAYERS))
    with pytest.raises(ValueError, match=r"\(N, L\) with L at most 4, got \(1, 5\)"):
        model(tg.zeros((1, 5), dtype="int64"))
    with pytest.raises(ValueError, match=r"attention_mask must have the shape of input_ids"):
        model(tg.zeros((1, 3), dtype="int64"), tg.ones((1, 4)))
    with pytest.raises(ValueError, match="pooling must be one of mean, cls, max, got 'sum'"):
        SentenceEncoder(10, 8, 1, 2, 16, pooling="sum")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "t5"}))
    with pytest.raises(ValueError, match="holds a model of type 't5'; 'bert' is needed"):
        SentenceEncoder.from_pretrained(tmp_path)
