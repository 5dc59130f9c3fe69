"""Transformer layers and stacks against PyTorch's, and step by step with a cache."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn

torch = pytest.importorskip("torch")
from tests.nn.parity import arrays, close, same_layer  # noqa: E402

DTYPES = st.sampled_from(["float64", "float32"])
ACTIVATIONS = {"relu": ("relu", "relu"), "gelu": ("gelu", "gelu"),
               "function": (tg.tanh, torch.tanh), "module": (nn.SiLU(), torch.nn.SiLU())}


@st.composite
def layers(draw, activations=tuple(ACTIVATIONS)):
    """Constructor arguments of a layer for each library."""
    ours, theirs = ACTIVATIONS[draw(st.sampled_from(activations))]
    common = {"dim_feedforward": draw(st.integers(1, 9)), "dropout": 0.0,
              "batch_first": draw(st.booleans()), "norm_first": draw(st.booleans()),
              "bias": draw(st.booleans()), "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-2]))}
    return {**common, "activation": ours}, {**common, "activation": theirs}


def masks_for(draw, rng, dtype, prefix, length, keys, n, heads, padding_name):
    """A drawn attention mask and a padding mask, the first key visible to all."""
    kind = draw(st.sampled_from(["none", "flags", "numbers"]))
    made = {}
    if kind != "none":
        shape = draw(st.sampled_from([(length, keys), (n * heads, length, keys)]))
        mask = rng.random(shape) < 0.4 if kind == "flags" else rng.standard_normal(shape)
        mask[..., 0] = 0
        made[f"{prefix}_mask"] = mask if kind == "flags" else mask.astype(dtype)
    if draw(st.booleans()):
        padding = rng.random((n, keys)) < 0.4
        padding[:, 0] = False
        made[padding_name] = padding if kind != "numbers" else np.where(
            padding, -np.inf, 0).astype(dtype)
    return made


def with_masks(base, lib, module, masks):
    """A module of one library that calls `module` with the masks."""
    class Call(base):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, *x):
            return self.inner(*x, **{k: lib(v) if isinstance(v, np.ndarray) else v
                                     for k, v in masks.items()})
    return Call()


def compare(ours, theirs, masks, floats, dtype):
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.4)
    same_layer(with_masks(nn.Module, tg.Tensor, ours, masks),
               with_masks(torch.nn.Module, torch.tensor, theirs, masks), floats, dtype)


@settings(max_examples=25, deadline=None)
@given(arguments=layers(), data=st.data(), dtype=DTYPES)
def test_encoder_layer(arguments, data, dtype):
    rng = np.random.default_rng(0)
    n, length, heads = 2, data.draw(st.integers(1, 4)), 2
    masks = masks_for(data.draw, rng, dtype, "src", length, length, n, heads,
                      "src_key_padding_mask")
    shape = (n, length, 6) if arguments[0]["batch_first"] else (length, n, 6)
    compare(nn.TransformerEncoderLayer(6, heads, **arguments[0]),
            torch.nn.TransformerEncoderLayer(6, heads, **arguments[1]), masks,
            arrays(rng, dtype, shape), dtype)


@settings(max_examples=25, deadline=None)
@given(arguments=layers(), data=st.data(), dtype=DTYPES)
def test_decoder_layer(arguments, data, dtype):
    rng = np.random.default_rng(0)
    n, length, keys, heads = 2, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)), 2
    masks = {**masks_for(data.draw, rng, dtype, "tgt", length, length, n, heads,
                         "tgt_key_padding_mask"),
             **masks_for(data.draw, rng, dtype, "memory", length, keys, n, heads,
                         "memory_key_padding_mask")}
    first = arguments[0]["batch_first"]
    shapes = [(n, m, 6) if first else (m, n, 6) for m in (length, keys)]
    compare(nn.TransformerDecoderLayer(6, heads, **arguments[0]),
            torch.nn.TransformerDecoderLayer(6, heads, **arguments[1]), masks,
            arrays(rng, dtype, *shapes), dtype)


# PyTorch forgets an activation that is a module when it copies decoder layers, and uses relu
COPIED = ("relu", "gelu", "function")


@pytest.mark.filterwarnings("ignore::UserWarning")     # PyTorch: why it takes no fast path
@settings(max_examples=15, deadline=None)
@given(arguments=layers(COPIED), norm=st.booleans(), hint=st.sampled_from([None, True]),
       dtype=DTYPES)
def test_stacks(arguments, norm, hint, dtype):
    """Two layers and a final norm; the causal mask with its hint, and padding."""
    rng = np.random.default_rng(0)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(3).numpy().astype(dtype)

    def build(lib, options, decoder):
        layer = getattr(lib, f"Transformer{decoder}Layer")(4, 2, **options)
        return getattr(lib, f"Transformer{decoder}")(layer, 2, lib.LayerNorm(4) if norm else None)
    x, memory = arrays(rng, dtype, (3, 2, 4), (5, 2, 4))
    if arguments[0]["batch_first"]:
        x, memory = (a.swapaxes(0, 1).copy() for a in (x, memory))
    compare(build(nn, arguments[0], "Encoder"), build(torch.nn, arguments[1], "Encoder"),
            {"mask": mask, "is_causal": hint}, [x], dtype)
    compare(build(nn, arguments[0], "Decoder"), build(torch.nn, arguments[1], "Decoder"),
            {"tgt_mask": mask, "tgt_is_causal": hint}, [x, memory], dtype)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=10, deadline=None)
@given(arguments=layers(COPIED), dtype=DTYPES, batched=st.booleans())
def test_transformer(arguments, dtype, batched):
    rng = np.random.default_rng(0)
    tgt_mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=dtype).data
    source, target = arrays(rng, dtype, *([(2, 5, 4), (2, 3, 4)] if batched else [(5, 4), (3, 4)]))
    if batched and not arguments[0]["batch_first"]:
        source, target = (a.swapaxes(0, 1).copy() for a in (source, target))
    masks = {"tgt_mask": tgt_mask, "tgt_is_causal": True}
    if batched:
        masks["src_key_padding_mask"] = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]], bool)
        masks["memory_key_padding_mask"] = masks["src_key_padding_mask"]
    compare(nn.Transformer(4, 2, 1, 2, **arguments[0]),
            torch.nn.Transformer(4, 2, 1, 2, **arguments[1]), masks, [source, target], dtype)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_transformer_defaults_state_dict_and_start():
    ours, theirs = nn.Transformer(8, 2, 1, 1, 16), torch.nn.Transformer(8, 2, 1, 1, 16)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert nn.Transformer.generate_square_subsequent_mask(4).data.tolist() == (
        torch.nn.Transformer.generate_square_subsequent_mask(4).tolist())
    layer = ours.encoder.layers[0]
    assert (layer.dropout.p, layer.norm1.eps, layer.self_attn.batch_first) == (0.1, 1e-5, False)
    for name, p in theirs.named_parameters():    # the same spread, if not the same draw
        q = dict(ours.named_parameters())[name]
        assert (q.data.std() == 0) == (float(p.detach().std()) == 0), name
        if p.ndim > 1:
            assert abs(q.data.std() / float(p.detach().std()) - 1) < 0.3, name


def test_copies_of_a_layer_are_their_own():
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2)
    a, b = (layer.linear1.weight for layer in stack.layers)
    assert np.array_equal(a.data, b.data) and a is not b and not np.shares_memory(a.data, b.data)
    assert len(list(stack.parameters())) == 24
    stack = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8, activation=nn.SiLU()), 2)
    assert all(isinstance(layer.activation, nn.SiLU) for layer in stack.layers)


def test_dropout_in_training_only():
    layer = nn.TransformerDecoderLayer(4, 2, 8, dropout=0.5)
    x = tg.Tensor(np.random.default_rng(0).standard_normal((3, 2, 4)).astype("f4"))
    assert not np.array_equal(layer(x, x).data, layer(x, x).data)
    layer.eval()
    assert np.array_equal(layer(x, x).data, layer(x, x).data)


# -- one token at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 2, 1], [7]])
def test_cached_steps_equal_the_whole(batch_first, norm_first, pieces):
    """Encoder (as a language model) and decoder, token by token and in chunks."""
    options = {"batch_first": batch_first, "norm_first": norm_first, "dropout": 0.0}
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, **options), 2).double()
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, **options), 2).double()
    rng = np.random.default_rng(0)
    shape, axis = ((2, 7, 8), 1) if batch_first else ((7, 2, 8), 0)
    x, memory = (tg.Tensor(a) for a in arrays(rng, "float64", shape, shape))
    mask = nn.Transformer.generate_square_subsequent_mask(7, dtype="float64")
    padding = tg.Tensor(np.array([[0] * 7, [0] * 4 + [1] * 3], bool))
    caches = nn.DecodingCache(2), nn.DecodingCache(2)
    parts, start = [], 0
    with tg.no_grad():
        whole = (encoder(x, mask), decoder(x, memory, mask, memory_key_padding_mask=padding))
        for n in pieces:
            new = x[:, start:start + n] if batch_first else x[start:start + n]
            parts.append((encoder(new, is_causal=True, cache=caches[0]),
                          decoder(new, memory, tgt_is_causal=True,
                                  memory_key_padding_mask=padding, cache=caches[1])))
            start += n
    assert caches[0].length == caches[1].length == 7
    for i in range(2):
        np.testing.assert_allclose(np.concatenate([p[i].data for p in parts], axis),
                                   whole[i].data, rtol=1e-12, atol=1e-13)


def test_a_cache_with_padding_crop_and_reorder():
    layer = nn.MultiheadAttention(8, 2, batch_first=True).double()
    (x,) = arrays(np.random.default_rng(0), "float64", (3, 6, 8))
    hidden = np.zeros((3, 6), bool)
    hidden[1, :2] = True
    triangle = tg.Tensor(~np.tril(np.ones((6, 6), bool)))

    def whole(rows, padding):
        y = tg.Tensor(x[rows])
        return layer(y, y, y, attn_mask=triangle, key_padding_mask=tg.Tensor(padding[rows]))[0]
    cache, rows = nn.KVCache(), [2, 0, 0, 1]

    def step(rows, start, end, **options):
        new = tg.Tensor(x[rows][:, start:end])
        return layer(new, new, new, is_causal=True, cache=cache,
                     key_padding_mask=tg.Tensor(hidden[rows][:, :end]), **options)[0]
    with tg.no_grad():
        step([0, 1, 2], 0, 4, need_weights=False)
        cache.crop(3)
        cache.crop(-1)
        assert cache.length == len(cache) == 2 and cache.keys.shape == (3, 2, 2, 4)
        cache.reorder(tg.Tensor(rows))
        for need_weights in (False, True):
            a = step(rows, 2, 6, need_weights=need_weights).data
            # rows that see no key differ by design between the two paths; none is among these
            np.testing.assert_allclose(a, whole(rows, hidden).data[:, 2:], rtol=1e-12)
            cache.crop(2)


def test_errors_of_caches():
    cache = nn.KVCache()
    with pytest.raises(RuntimeError, match="the cache is empty"):
        cache.keys
    layer = nn.MultiheadAttention(4, 2)
    x = tg.ones((3, 2, 4))
    with pytest.raises(RuntimeError, match=r"require grad.*decode under tg.no_grad"):
        layer(x, x, x, cache=cache)
    with tg.no_grad():
        layer(x, x, x, cache=cache)
        with pytest.raises(ValueError, match=r"holds \(N, H, D\) = \(2, 2, 2\) float32, got"):
            layer(x[:, :1], x[:, :1], x[:, :1], cache=cache)
        with pytest.raises(ValueError, match="cannot crop 3 tokens to 4"):
            cache.crop(4)
        odd = nn.MultiheadAttention(4, 2, add_zero_attn=True)
        with pytest.raises(ValueError, match="a cache cannot be combined with add_bias_kv"):
            odd(x, x, x, cache=nn.KVCache())
        stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2)
        with pytest.raises(ValueError, match="the cache is for 3 layers, there are 2"):
            stack(x, cache=nn.DecodingCache(3))
    with pytest.raises(ValueError, match="activation must be 'relu', 'gelu' or a function"):
        nn.TransformerEncoderLayer(4, 2, activation="swish")
    with pytest.raises(ValueError, match=r"must have the same batch \(axis 1\)"):
        nn.Transformer(4, 2, 1, 1, 8)(x, x[:, :1])
    with pytest.raises(ValueError, match="must have width d_model = 4"):
        nn.Transformer(4, 2, 1, 1, 8)(x, x[..., :3])


def test_eval_mode_agrees_with_pytorch_where_nothing_is_hidden():
    """PyTorch's fused inference path and this one give the same numbers."""
    theirs = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    ours.load_state_dict(theirs.state_dict())
    (x,) = arrays(np.random.default_rng(0), "float32", (2, 5, 8))
    with torch.no_grad():
        close(ours(tg.Tensor(x)), theirs(torch.tensor(x)), "float32", "output")
