"""Attention against PyTorch's: masks, groups, weights, gradients of every input and parameter."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.nn import functional as F

torch = pytest.importorskip("torch")
from tests.nn.parity import arrays, close, same_function, same_layer  # noqa: E402

DTYPES = st.sampled_from(["float64", "float32"])
drawn = settings(max_examples=25, deadline=None)
theirs_sdpa = torch.nn.functional.scaled_dot_product_attention


def a_mask(rng, kind, shape, dtype):
    """None, booleans with hidden places, numbers, or numbers with -inf."""
    if kind == "none":
        return None
    flags = rng.random(shape) < 0.6
    if kind == "flags":
        return flags
    numbers = rng.standard_normal(shape).astype(dtype)
    return np.where(flags, numbers, -np.inf).astype(dtype) if kind == "inf" else numbers


KINDS = st.sampled_from(["none", "flags", "numbers", "inf"])


# -- scaled dot products --------------------------------------------------------------------------


@drawn
@given(lead=st.lists(st.integers(1, 3), max_size=3), sizes=st.tuples(*[st.integers(1, 6)] * 4),
       kind=KINDS, data=st.data(), scale=st.sampled_from([None, 0.3, 1.0]), dtype=DTYPES)
def test_scaled_dot_product_attention(lead, sizes, kind, data, scale, dtype):
    length, keys, width, out = sizes
    rng = np.random.default_rng(sum(sizes))
    shape = (*(data.draw(st.sampled_from([1, n])) for n in lead),
             data.draw(st.sampled_from([1, length])), keys)[data.draw(st.integers(0, len(lead))):]
    mask = a_mask(rng, kind, shape, dtype)
    causal = mask is None and data.draw(st.booleans())
    floats = arrays(rng, dtype, (*lead, length, width), (*lead, keys, width), (*lead, keys, out))
    others = []
    if mask is not None:
        (floats if kind == "numbers" else others).append(mask)   # -inf has no gradient to compare

    def run(function):
        return lambda *x: function(*x, is_causal=causal, scale=scale)
    same_function(run(F.scaled_dot_product_attention), run(theirs_sdpa), floats, dtype, others)


@drawn
@given(groups=st.sampled_from([(4, 2, 2), (6, 3, 2), (4, 1, 1), (3, 3, 3), (6, 2, 6)]), kind=KINDS,
       per_head=st.booleans(), lead=st.sampled_from([(), (2,), (2, 3)]), dtype=DTYPES)
def test_grouped_queries(groups, kind, per_head, lead, dtype):
    rng = np.random.default_rng(3)
    h, hk, hv = groups
    shape = (*lead, h if per_head else 1, 3, 5)
    mask = a_mask(rng, kind, shape, dtype)
    floats = arrays(rng, dtype, (*lead, h, 3, 4), (*lead, hk, 5, 4), (*lead, hv, 5, 2))
    others = [] if mask is None else [mask]

    def run(function):
        return lambda *x: function(*x, enable_gqa=True)
    same_function(run(F.scaled_dot_product_attention), run(theirs_sdpa), floats, dtype, others)


@pytest.mark.parametrize("additive", [True, False])
def test_a_query_that_sees_nothing_gives_zeros_and_no_gradient(additive):
    q, k, v = (tg.Tensor(a, requires_grad=True) for a in
               arrays(np.random.default_rng(0), "float64", (3, 4), (5, 4), (5, 2)))
    seen = np.ones((3, 5), bool)
    seen[1] = False
    mask = tg.Tensor(np.where(seen, 0.0, -np.inf) if additive else seen)
    out = F.scaled_dot_product_attention(q, k, v, mask)
    out.sum().backward()
    assert not out.data[1].any() and not q.grad.data[1].any()
    assert out.data[0].all() and np.isfinite(k.grad.data).all() and np.isfinite(v.grad.data).all()


def test_no_keys_no_width_and_no_queries():
    for q, k, v in (((2, 3, 4), (2, 0, 4), (2, 0, 5)), ((2, 3, 0), (2, 4, 0), (2, 4, 5)),
                    ((2, 0, 4), (2, 3, 4), (2, 3, 5)), ((0, 3, 4), (0, 2, 4), (0, 2, 5))):
        same_function(F.scaled_dot_product_attention, theirs_sdpa,
                      arrays(np.random.default_rng(0), "float64", q, k, v), "float64")


@pytest.mark.parametrize("tile", [1, 30, 100, 2000])
def test_tiles_of_heads_and_of_queries_change_nothing(monkeypatch, tile):
    module = import_module("tinygen.ops.attention")
    monkeypatch.setattr(module, "TILE", tile)
    rng = np.random.default_rng(0)
    floats = arrays(rng, "float64", (2, 3, 40, 5), (2, 3, 30, 5), (2, 1, 30, 2), (3, 1, 30))
    same_function(F.scaled_dot_product_attention,
                  lambda q, k, v, m: theirs_sdpa(q, k, v.expand(2, 3, 30, 2), m), floats, "float64")
    same_function(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True),
                  lambda q, k, v: theirs_sdpa(q, k, v.expand(2, 3, 30, 2), is_causal=True),
                  floats[:3], "float64")
    keep = rng.integers(0, 2, (2, 3, 40, 30)) * 2.0

    def run(offset):
        mine = [tg.Tensor(a, requires_grad=True) for a in floats]
        out = tg.attention(*mine, tg.Tensor(keep), causal=True, offset=offset)
        out.backward(np.cos(np.arange(out.size)).reshape(out.shape))
        return [out.data, *(t.grad.data for t in mine)]
    for offset in (-20, 7):
        found = run(offset)
        monkeypatch.setattr(module, "TILE", 1 << 30)
        for y, r in zip(found, run(offset), strict=True):
            np.testing.assert_allclose(y, r, rtol=1e-10, atol=1e-12)
        monkeypatch.setattr(module, "TILE", tile)


def test_dropout_keeps_the_mean_and_draws_from_the_generator():
    q, k = (tg.Tensor(a) for a in arrays(np.random.default_rng(0), "float64", (2, 40), (400, 40)))
    v = tg.Tensor(np.eye(400))                      # the output is the weights themselves
    whole = F.scaled_dot_product_attention(q, k, v).data

    def run(seed, p=0.25):
        generator = tg.Generator(seed)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=p, generator=generator).data
    dropped = run(1)
    gone = dropped == 0
    assert abs(gone.mean() - 0.25) < 4 * (0.25 * 0.75 / gone.size) ** 0.5
    np.testing.assert_allclose(dropped[~gone], whole[~gone] / 0.75)
    assert np.array_equal(dropped, run(1)) and not np.array_equal(dropped, run(2))
    assert not run(1, p=1.0).any()


def test_dropout_uses_one_mask_forward_and_backward():
    """v is the identity: the gradient of v tells which weights were kept."""
    q, k = (tg.Tensor(a) for a in arrays(np.random.default_rng(0), "float64", (1, 4), (50, 4)))
    v = tg.Tensor(np.eye(50), requires_grad=True)
    out = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    out.sum().backward()
    np.testing.assert_allclose(v.grad.data[:, 0], out.data[0])


def test_half_precision_sums_in_single_precision():
    floats = [a.astype("float16") for a in arrays(np.random.default_rng(0), "float32",
                                                  (2, 300, 64), (2, 300, 64), (2, 300, 64))]
    mine = [tg.Tensor(a, requires_grad=True) for a in floats]
    out = F.scaled_dot_product_attention(*mine)
    exact = theirs_sdpa(*(torch.tensor(a.astype("f8")) for a in floats)).numpy()
    assert out.dtype == np.float16
    np.testing.assert_allclose(out.data, exact, atol=5e-4)
    out.sum().backward()
    assert mine[0].grad.dtype == np.float16


@pytest.mark.parametrize(("call", "text"), [
    (lambda f, x: f(x, x, x, tg.ones((3, 3), dtype="bool"), is_causal=True), "leave attn_mask out"),
    (lambda f, x: f(x, x, x, dropout_p=1.5), r"dropout_p must be in \[0, 1\], got 1.5"),
    (lambda f, x: f(x, x[..., :2], x), r"q \(2, 3, 4\) and k \(2, 3, 2\) must have the same width"),
    (lambda f, x: f(x, x, x[:, :2]), "k .* and v .* must have the same length"),
    (lambda f, x: f(x, x, x, tg.ones((7, 3))), r"mask \(7, 3\) does not broadcast to \(2, 3, 3\)"),
    (lambda f, x: f(tg.ones((3, 3, 4)), x, x), "do not broadcast; grouped heads need enable_gqa"),
    (lambda f, x: f(tg.ones((3, 3, 4)), x, x, enable_gqa=True), "3 heads of query must be a mult"),
    (lambda f, x: f(x[0, 0], x, x), r"q must be \(..., length, width\), got \(4,\)"),
])
def test_bad_arguments_of_scaled_dot_product_attention(call, text):
    with pytest.raises(ValueError, match=rf"\[scaled_dot_product_attention\].*{text}"):
        call(F.scaled_dot_product_attention, tg.ones((2, 3, 4)))


def test_bad_dtypes_of_attention():
    x = tg.ones((2, 3, 4))
    with pytest.raises(TypeError, match=r"mask must be boolean .* or floating point .* got int64"):
        F.scaled_dot_product_attention(x, x, x, tg.ones((3, 3), dtype="int64"))
    with pytest.raises(TypeError, match="one floating point dtype, got float32, float64"):
        F.scaled_dot_product_attention(x, x.astype("float64"), x)


# -- several heads --------------------------------------------------------------------------------


@st.composite
def calls(draw):
    """Arguments of the layer and of its call, and the shapes of what it is given."""
    heads, width = draw(st.sampled_from([(1, 3), (2, 4), (3, 6)]))
    layer = {"bias": draw(st.booleans()), "add_bias_kv": draw(st.booleans()),
             "add_zero_attn": draw(st.booleans()), "batch_first": draw(st.booleans()),
             "kdim": draw(st.sampled_from([None, None, 5])),
             "vdim": draw(st.sampled_from([None, None, 2]))}
    length, keys, n = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 3))

    def shape(size, e):
        if not n:
            return (size, e)
        return (n, size, e) if layer["batch_first"] else (size, n, e)
    alone = layer["kdim"] is None and layer["vdim"] is None and draw(st.booleans())
    shapes = [shape(length, width)]
    if alone:
        keys = length
    else:
        shapes += [shape(keys, layer["kdim"] or width), shape(keys, layer["vdim"] or width)]
    call = {"need_weights": draw(st.booleans()), "average_attn_weights": draw(st.booleans())}
    kind = draw(KINDS)
    n = n or 1
    masks = {"attn_mask": (kind, draw(st.sampled_from([(length, keys),
                                                       (n * heads, length, keys)]))),
             "key_padding_mask": (draw(st.sampled_from(["none", kind])),
                                  (n, keys) if len(shapes[0]) == 3 else (keys,))}
    return (width, heads), layer, call, shapes, masks


@settings(max_examples=60, deadline=None)
@given(arguments=calls(), dtype=DTYPES, seed=st.integers(0, 99))
def test_multihead_attention(arguments, dtype, seed):
    sizes, layer, call, shapes, masks = arguments
    rng = np.random.default_rng(seed)
    given_masks = {name: a_mask(rng, kind, shape, dtype) for name, (kind, shape) in masks.items()}
    for mask in given_masks.values():
        if mask is not None:      # the first key is seen: rows without any are their own test
            mask[..., 0] = False if mask.dtype == bool else 0
    ours, theirs = nn.MultiheadAttention(*sizes, **layer), torch.nn.MultiheadAttention(*sizes,
                                                                                     **layer)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.5)

    def outputs(module, x, lib):
        x = list(x) if len(x) == 3 else [x[0]] * 3
        out, weights = module(*x, **call, **{k: v if v is None else lib(v)
                                             for k, v in given_masks.items()})
        assert (weights is not None) == call["need_weights"]
        return [out, *([] if weights is None else [weights])]

    class Ours(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = ours

        def forward(self, *x):
            return tg.concat([tg.reshape(y, (-1,)) for y in outputs(ours, x, tg.Tensor)])

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = theirs

        def forward(self, *x):
            return torch.cat([y.reshape(-1) for y in outputs(theirs, x, torch.tensor)])
    same_layer(Ours(), Theirs(), arrays(rng, dtype, *shapes), dtype)
    x = [tg.Tensor(a) for a in arrays(rng, dtype, *shapes)]
    yours = outputs(theirs, [torch.tensor(t.data) for t in x], torch.tensor)
    assert [tuple(y.shape) for y in yours] == [y.shape for y in outputs(ours, x, tg.Tensor)]


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_rows_without_keys_are_as_in_pytorch(need_weights):
    theirs = torch.nn.MultiheadAttention(4, 2)
    ours = nn.MultiheadAttention(4, 2)
    ours.load_state_dict(theirs.state_dict())
    (x,) = arrays(np.random.default_rng(0), "float32", (3, 2, 4))
    hidden = np.array([[True] * 3, [False] * 3])
    a = ours(*[tg.Tensor(x)] * 3, key_padding_mask=tg.Tensor(hidden), need_weights=need_weights)[0]
    b = theirs(*[torch.tensor(x)] * 3, key_padding_mask=torch.tensor(hidden),
               need_weights=need_weights)[0]
    np.testing.assert_allclose(a.data, b.detach().numpy(), atol=1e-6)
    assert np.isnan(a.data[:, 0]).all() == need_weights


def test_is_causal_is_a_hint_about_the_mask():
    ours, theirs = nn.MultiheadAttention(4, 2), torch.nn.MultiheadAttention(4, 2)
    for weights in (True, False):
        mask = torch.nn.Transformer.generate_square_subsequent_mask(3)
        same_layer(
            _Wrapped(ours, tg.Tensor(mask.numpy()), weights), _wrapped(theirs, mask, weights),
            arrays(np.random.default_rng(0), "float64", (3, 2, 4)), "float64")
    with pytest.raises(ValueError, match="is_causal=True is a hint about attn_mask"):
        ours(*[tg.ones((3, 2, 4))] * 3, is_causal=True)


class _Wrapped(nn.Module):
    def __init__(self, layer, mask, weights):
        super().__init__()
        self.layer, self.options = layer, {"is_causal": True, "need_weights": weights}
        self.mask = mask

    def forward(self, x):
        mask = self.mask.astype(x.dtype)
        return self.layer(x, x, x, attn_mask=mask, **self.options)[0]


def _wrapped(layer, mask, weights):
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return layer(x, x, x, attn_mask=mask.to(x.dtype), is_causal=True,
                         need_weights=weights)[0]
    return Theirs()


def test_static_keys_and_values():
    rng = np.random.default_rng(0)
    q, static_k, static_v, w, b, o = arrays(rng, "float64", (3, 2, 4), (4, 5, 2), (4, 5, 2),
                                            (12, 4), (12,), (4, 4))

    def run(lib, function):
        def call(q, k, v, w, b, o):
            return function(q, q, q, 4, 2, w, b, None, None, False, 0.0, o, None, static_k=k,
                            static_v=v, need_weights=False)[0]
        return call
    same_function(run(tg, F.multi_head_attention_forward),
                  run(torch, torch.nn.functional.multi_head_attention_forward),
                  [q, static_k, static_v, w, b, o], "float64")


def test_second_derivatives_of_multihead_attention_agree_with_pytorch():
    ours, theirs = nn.MultiheadAttention(4, 2).double(), torch.nn.MultiheadAttention(4, 2).double()
    ours.load_state_dict(theirs.state_dict())
    (x,) = arrays(np.random.default_rng(0), "float64", (3, 2, 4))
    a, b = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    (ga,) = tg.autograd.grad_of((ours(a, a, a, need_weights=False)[0] ** 2).sum(), a,
                                create_graph=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        (gb,) = torch.autograd.grad((theirs(b, b, b, need_weights=False)[0] ** 2).sum(), b,
                                    create_graph=True)
    (ga ** 2).sum().backward()
    (gb ** 2).sum().backward()
    close(a.grad, b.grad, "float64", "second derivative")
    close(ours.in_proj_weight.grad, theirs.in_proj_weight.grad, "float64", "of the weight")


def test_multihead_dropout_is_for_training_only():
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = tg.Tensor(np.random.default_rng(0).standard_normal((3, 2, 4)).astype("f4"))
    first, second = (layer(x, x, x, need_weights=False)[0].data for _ in range(2))
    assert not np.array_equal(first, second)
    _, weights = layer(x, x, x)
    assert (weights.data == 0).any()
    layer.eval()
    assert np.array_equal(layer(x, x, x)[0].data, layer(x, x, x)[0].data)


@pytest.mark.parametrize(("call", "text"), [
    (lambda m, x: m(x, x, x[:2]), "must agree in length and batch"),
    (lambda m, x: m(x[..., :2], x, x), "width 2; expected 4, a multiple of num_heads = 2"),
    (lambda m, x: m(x, x[..., :3], x), r"key \(3, 2, 3\) has width 3, its projection takes 4"),
    (lambda m, x: m(x, x, x, attn_mask=tg.ones((2, 3))), r"\(3, 3\) or \(4, 3, 3\) would fit"),
    (lambda m, x: m(x, x, x, key_padding_mask=tg.ones((3, 2))), r"\(2, 3\) would fit"),
    (lambda m, x: m(x, x, x, key_padding_mask=tg.ones(3)), r"must be \(N, S\), got \(3,\)"),
    (lambda m, x: m(x[None], x, x), "must all be"),
])
def test_bad_arguments_of_multihead_attention(call, text):
    with pytest.raises(ValueError, match=rf"\[multi_head_attention\].*{text}.*in layer Multi"):
        call(nn.MultiheadAttention(4, 2), tg.ones((3, 2, 4)))


def test_bad_constructor_arguments():
    with pytest.raises(ValueError, match="embed_dim 5 is not a multiple of num_heads 2"):
        nn.MultiheadAttention(5, 2)
    with pytest.raises(ValueError, match="num_heads must be an integer of at least 1, got 0"):
        nn.MultiheadAttention(4, 0)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\], got 2"):
        nn.MultiheadAttention(4, 2, dropout=2)
