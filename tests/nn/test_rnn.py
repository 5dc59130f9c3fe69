"""Recurrent layers and cells beside PyTorch's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tests.checking import difference, directions, dot
from tests.nn.parity import close
from tinygen import nn
from tinygen.autograd import grad_of

torch = pytest.importorskip("torch")

KINDS = ["RNN", "LSTM", "GRU"]
DTYPES = ["float64", "float32"]


@st.composite
def options(draw, kinds=KINDS):
    """A kind of layer and its arguments."""
    kind = draw(st.sampled_from(kinds))
    hidden = draw(st.integers(1, 5))
    kwargs = {"input_size": draw(st.integers(1, 4)), "hidden_size": hidden,
              "num_layers": draw(st.integers(1, 3)), "bias": draw(st.booleans()),
              "batch_first": draw(st.booleans()), "bidirectional": draw(st.booleans())}
    if kind == "RNN":
        kwargs["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM":
        kwargs["proj_size"] = draw(st.integers(0, hidden - 1))
    return kind, kwargs


def pair(kind, kwargs, dtype):
    """The layer in both libraries, with the same weights."""
    ours = getattr(nn, kind)(**kwargs).to(dtype)
    theirs = getattr(torch.nn, kind)(**kwargs).to(getattr(torch, dtype))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def first_state(rng, layer, shape, dtype):
    """Arrays for hx."""
    rows = layer.num_layers * (1 + layer.bidirectional)
    sizes = [getattr(layer, "proj_size", 0) or layer.hidden_size]
    if isinstance(layer, torch.nn.LSTM):
        sizes.append(layer.hidden_size)
    return [rng.standard_normal((rows, *shape, size)).astype(dtype) for size in sizes]


def flat(out):
    """Outputs and states as one list."""
    y, state = out
    return [y, *state] if isinstance(state, (tuple, list)) else [y, state]


def leaves(arrays):
    return ([tg.Tensor(a, requires_grad=True) for a in arrays],
            [torch.tensor(a, requires_grad=True) for a in arrays])


def hidden(tensors):
    return None if not tensors else tensors[0] if len(tensors) == 1 else tuple(tensors)


def same(mine, yours, inputs, layers, dtype):
    """Equal results, and equal gradients of inputs and weights for random weights of results."""
    rng = np.random.default_rng(1)
    total, reference = 0, 0
    for i, (a, b) in enumerate(zip(mine, yours, strict=True)):
        close(a, b, dtype, f"result {i}")
        w = rng.standard_normal(b.shape).astype(dtype)
        total, reference = total + (a * w).sum(), reference + (b * torch.tensor(w)).sum()
    total.backward()
    reference.backward()
    for i, (a, b) in enumerate(zip(*inputs, strict=True)):
        close(a.grad, b.grad, dtype, f"gradient of input {i}")
    for (name, a), b in zip(layers[0].named_parameters(), layers[1].parameters(), strict=True):
        close(a.grad, b.grad, dtype, f"gradient of {name}")


@given(drawn=options(), steps=st.integers(1, 6), batch=st.integers(0, 4), given_state=st.booleans(),
       dtype=st.sampled_from(DTYPES))
def test_layers(drawn, steps, batch, given_state, dtype):
    """A batch, or (batch == 0) one sequence without a batch axis."""
    rng = np.random.default_rng(steps)
    layers = pair(*drawn, dtype)
    kwargs = drawn[1]
    shape = ((batch, steps) if kwargs["batch_first"] else (steps, batch)) if batch else (steps,)
    x = rng.standard_normal((*shape, kwargs["input_size"])).astype(dtype)
    states = first_state(rng, layers[1], (batch,) if batch else (), dtype) if given_state else []
    mine, yours = leaves([x, *states])
    same(flat(layers[0](mine[0], hidden(mine[1:]))), flat(layers[1](yours[0], hidden(yours[1:]))),
         (mine, yours), layers, dtype)


@st.composite
def lengths_of(draw):
    return draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))


@given(drawn=options(), lengths=lengths_of(), given_state=st.booleans(),
       dtype=st.sampled_from(DTYPES))
def test_packed_sequences(drawn, lengths, given_state, dtype):
    rng = np.random.default_rng(len(lengths))
    layers = pair(*drawn, dtype)
    x = rng.standard_normal((max(lengths), len(lengths), drawn[1]["input_size"])).astype(dtype)
    states = first_state(rng, layers[1], (len(lengths),), dtype) if given_state else []
    mine, yours = leaves([x, *states])
    a = nn.utils.rnn.pack_padded_sequence(mine[0], lengths, enforce_sorted=False)
    b = torch.nn.utils.rnn.pack_padded_sequence(yours[0], lengths, enforce_sorted=False)
    a, b = layers[0](a, hidden(mine[1:])), layers[1](b, hidden(yours[1:]))
    np.testing.assert_array_equal(a[0].batch_sizes.numpy(), b[0].batch_sizes.numpy())
    np.testing.assert_array_equal(a[0].unsorted_indices.numpy(), b[0].unsorted_indices.numpy())
    same(flat((a[0].data, a[1])), flat((b[0].data, b[1])), (mine, yours), layers, dtype)


@given(drawn=options(), lengths=lengths_of(), more=st.integers(0, 2), given_state=st.booleans(),
       dtype=st.sampled_from(DTYPES))
def test_lengths_argument(drawn, lengths, more, given_state, dtype):
    """The same as packing and unpacking in PyTorch; what stands at the pads has no effect."""
    rng = np.random.default_rng(len(lengths))
    layers, first = pair(*drawn, dtype), drawn[1]["batch_first"]
    steps = max(lengths) + more
    x = rng.standard_normal((steps, len(lengths), drawn[1]["input_size"])).astype(dtype)
    spoilt = x.copy()
    spoilt[np.arange(steps)[:, None] >= lengths] = np.nan
    if first:
        x, spoilt = x.swapaxes(0, 1), spoilt.swapaxes(0, 1)
    states = first_state(rng, layers[1], (len(lengths),), dtype) if given_state else []
    mine, yours = leaves([x, *states])
    mine[0] = tg.Tensor(spoilt, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(yours[0], lengths, first, False)
    y, state = layers[1](packed, hidden(yours[1:]))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, first, total_length=steps)
    given = tg.Tensor(lengths) if more else lengths
    same(flat(layers[0](mine[0], hidden(mine[1:]), lengths=given)), flat((y, state)),
         (mine, yours), layers, dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_of_length_zero_keeps_its_state(kind):
    layer = getattr(nn, kind)(3, 4)
    h = tg.Tensor(np.random.default_rng(0).standard_normal((1, 2, 4)).astype("f4"))
    y, state = layer(tg.ones((5, 2, 3)), (h, h) if kind == "LSTM" else h, lengths=[0, 5])
    last = state[0] if kind == "LSTM" else state
    np.testing.assert_array_equal(last.detach().numpy()[:, 0], h.detach().numpy()[:, 0])
    assert (y.detach().numpy()[:, 0] == 0).all() and (y.detach().numpy()[:, 1] != 0).all()


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@given(size=st.integers(1, 3), hidden_size=st.integers(1, 4), batch=st.integers(0, 3),
       bias=st.booleans(), given_state=st.booleans(), relu=st.booleans(),
       dtype=st.sampled_from(DTYPES))
def test_cells(kind, size, hidden_size, batch, bias, given_state, relu, dtype):
    rng = np.random.default_rng(size)
    kwargs = {"nonlinearity": "relu"} if relu and kind == "RNNCell" else {}
    layers = pair(kind, {"input_size": size, "hidden_size": hidden_size, "bias": bias, **kwargs},
                  dtype)
    assert repr(layers[0]) == repr(layers[1])
    shape = (batch,) if batch else ()
    arrays = [rng.standard_normal((*shape, size)).astype(dtype)]
    if given_state:
        arrays += [rng.standard_normal((*shape, hidden_size)).astype(dtype)
                   for _ in range(1 + (kind == "LSTMCell"))]
    mine, yours = leaves(arrays)
    a = layers[0](mine[0], hidden(mine[1:]))
    b = layers[1](yours[0], hidden(yours[1:]))
    as_list = list if kind == "LSTMCell" else lambda out: [out]
    same(as_list(a), as_list(b), (mine, yours), layers, dtype)


def test_a_loop_over_a_cell_is_the_layer():
    layer, cell = nn.LSTM(3, 4).double(), nn.LSTMCell(3, 4).double()
    cell.load_state_dict({k[:-3]: v for k, v in layer.state_dict().items()})
    x = tg.Tensor(np.random.default_rng(0).standard_normal((6, 2, 3)))
    state = None
    for t in range(6):
        state = cell(x[t], state)
    y, (h, c) = layer(x)
    np.testing.assert_allclose(state[0].detach().numpy(), h.detach().numpy()[0], atol=1e-14)
    np.testing.assert_allclose(state[1].detach().numpy(), c.detach().numpy()[0], atol=1e-14)
    np.testing.assert_array_equal(y.detach().numpy()[-1], h.detach().numpy()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind):
    """Two layers, both directions, lengths: differences of the gradient along a direction."""
    kwargs = {"proj_size": 2} if kind == "LSTM" else {}
    layer = getattr(nn, kind)(2, 3, 2, bidirectional=True, **kwargs).double()
    rng = np.random.default_rng(0)
    at = [rng.standard_normal((4, 3, 2)), *(p.detach().numpy().copy() for p in layer.parameters())]
    names = [name for name, _ in layer.named_parameters()]

    def first(arrays, create_graph=False):
        layer.load_state_dict(dict(zip(names, arrays[1:], strict=True)))
        x = tg.Tensor(arrays[0], requires_grad=True)
        inputs = [x, *layer.parameters()]
        out = flat(layer(x, lengths=[4, 2, 3]))
        loss = sum((y * y * (i + 1)).sum() for i, y in enumerate(out))
        return inputs, grad_of([loss], inputs, create_graph=create_graph)
    u, along = directions(at, rng), directions(at, rng)
    inputs, grads = first(at, create_graph=True)
    total = sum((g * v).sum() for g, v in zip(grads, u, strict=True))
    second = grad_of([total], inputs)
    analytic = dot([g.numpy() for g in second], along)
    numeric = difference(lambda a: dot([g.numpy() for g in first(a)[1]], u), at, along)
    assert abs(analytic - numeric) <= 1e-6 * (1 + abs(numeric))


@given(drawn=options())
def test_state_dicts_go_both_ways(drawn):
    kind, kwargs = drawn
    ours, theirs = getattr(nn, kind)(**kwargs), getattr(torch.nn, kind)(**kwargs)
    state = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    assert repr(ours) == repr(theirs)
    assert [len(w) for w in ours.all_weights] == [len(w) for w in theirs.all_weights]
    x = np.random.default_rng(0).standard_normal((3, 2, kwargs["input_size"])).astype("f4")
    close(ours(tg.Tensor(x))[0], theirs(torch.tensor(x))[0], "float32", "output")


def test_the_start_is_uniform():
    for layer in (nn.LSTM(30, 64, 2), nn.GRUCell(30, 64)):
        for p in layer.parameters():
            assert np.abs(p.detach().numpy()).max() <= 1 / 8
            assert abs(p.detach().numpy().std() * 8 * 3 ** 0.5 - 1) < 0.2
        before = layer.state_dict()[next(iter(layer.state_dict()))].numpy().copy()
        layer.reset_parameters()
        assert (before != next(layer.parameters()).detach().numpy()).any()


def open_layer(p, seed):
    """Two layers that pass ones through, so that the output shows the dropout between them."""
    layer = nn.RNN(1, 50, 2, "relu", dropout=p, generator=tg.backend.Generator(seed))
    for q in layer.parameters():
        q.data[...] = 0
    layer.bias_ih_l0.data[...] = 1
    layer.weight_ih_l1.data[...] = np.eye(50)
    return layer


def test_dropout_between_layers():
    x = tg.zeros((40, 10, 1))
    y = open_layer(0.3, 1)(x)[0].detach().numpy()
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    assert abs((y == 0).mean() - 0.3) < 0.015               # 20,000 draws: four deviations
    np.testing.assert_array_equal(y, open_layer(0.3, 1)(x)[0].detach().numpy())
    assert (y != open_layer(0.3, 2)(x)[0].detach().numpy()).any()
    assert (open_layer(0.3, 1).eval()(x)[0].detach().numpy() == 1).all()
    assert (open_layer(1.0, 1)(x)[0].detach().numpy() == 0).all()


def test_dropout_of_one_layer_warns():
    with pytest.warns(UserWarning, match=r"\[LSTM\] dropout=0.5 acts between layers"):
        nn.LSTM(2, 3, dropout=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind):
    layer = getattr(nn, kind)(3, 4, bidirectional=True)
    x = np.random.default_rng(0).standard_normal((50, 2, 3)).astype("f4")
    wide = flat(layer(tg.Tensor(x)))
    narrow = flat(layer.half()(tg.Tensor(x.astype("f2"))))
    for a, b in zip(wide, narrow, strict=True):
        assert b.dtype == np.float16
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), atol=5e-3)
    cell = getattr(nn, f"{kind}Cell")(3, 4).half()
    out = cell(tg.Tensor(x[0].astype("f2")))
    assert (out[0] if kind == "LSTM" else out).dtype == np.float16


def test_no_batch():
    """An empty batch has outputs with an empty axis, as in PyTorch."""
    for kind in KINDS:
        y, state = getattr(nn, kind)(3, 4)(tg.zeros((2, 0, 3)))
        assert y.shape == (2, 0, 4) and flat((y, state))[1].shape == (1, 0, 4)


ERRORS = [
    (lambda: nn.LSTM(0, 3), r"\[LSTM\] input_size must be an integer of at least 1, got 0"),
    (lambda: nn.GRU(3, 2.5), r"\[GRU\] hidden_size must be an integer"),
    (lambda: nn.RNN(3, 2, 0), r"\[RNN\] num_layers"),
    (lambda: nn.RNN(3, 2, nonlinearity="elu"), r"nonlinearity must be 'tanh' or 'relu', got 'elu'"),
    (lambda: nn.LSTM(3, 2, proj_size=2), r"proj_size must be smaller than hidden_size 2, got 2"),
    (lambda: nn.RNNBase("GRU", 3, 2, proj_size=1), r"proj_size is for LSTM only"),
    (lambda: nn.RNNBase("XYZ", 3, 2), r"mode must be one of RNN_TANH"),
    (lambda: nn.GRU(3, 2, dropout=1.5), r"dropout must be a number in \[0, 1\], got 1.5"),
    (lambda: nn.GRU(3, 2, dropout=True), r"dropout must be a number in \[0, 1\], got True"),
    (lambda: nn.LSTM(3, 2)(tg.zeros((4, 3, 2))), r"last axis of input \(4, 3, 2\).*input_size 3"),
    (lambda: nn.LSTM(3, 2)(tg.zeros((3,))), r"input must be \(T, N, 3\) or \(T, 3\)"),
    (lambda: nn.LSTM(3, 2)(tg.zeros((0, 1, 3))), r"no time steps"),
    (lambda: nn.LSTM(3, 2)(tg.zeros((4, 1, 3)), tg.zeros((1, 1, 2))), r"must be the pair"),
    (lambda: nn.GRU(3, 2)(tg.zeros((4, 1, 3)), (tg.zeros((1, 1, 2)),)), r"hx must be one tensor"),
    (lambda: nn.GRU(3, 2, 2)(tg.zeros((4, 5, 3)), tg.zeros((1, 5, 2))),
     r"h_0 has shape \(1, 5, 2\), \(2, 5, 2\) is needed"),
    (lambda: nn.GRU(3, 2)(tg.zeros((4, 3)), tg.zeros((2, 2))),
     r"h_0 has shape \(2, 2\), \(1, 2\) is needed"),
    (lambda: nn.GRU(3, 2)(tg.zeros((4, 5, 3)), lengths=[4, 4]), r"lengths must be 5 integers"),
    (lambda: nn.GRU(3, 2)(tg.zeros((4, 2, 3)), lengths=[4, 5]), r"lengths must be from 0 to 4"),
    (lambda: nn.GRU(3, 2)(tg.zeros((4, 3)), lengths=[4]), r"one sequence"),
    (lambda: nn.GRU(3, 2)(tg.zeros((4, 1, 3), dtype="float64")),
     r"input is float64 \(4, 1, 3\), the weights are float32"),
    (lambda: nn.GRU(3, 2)(tg.zeros((4, 1, 3)), tg.zeros((1, 1, 2), dtype="float64")),
     r"h_0 is float64, and input is float32"),
    (lambda: nn.GRUCell(3, 2)(tg.zeros((1, 3)), tg.zeros((1, 2), dtype="float64")),
     r"h is float64, and input is float32"),
    (lambda: nn.GRU(3, 2)([[1.0]]), r"input must be a tensor, got list"),
    (lambda: nn.GRUCell(3, 2)(tg.zeros((1, 2))), r"\[GRUCell\] input must be \(N, 3\) or \(3,\)"),
    (lambda: nn.GRUCell(3, 2)(tg.zeros((1, 3)), tg.zeros((2, 2))), r"h has shape \(2, 2\)"),
    (lambda: nn.LSTMCell(3, 2)(tg.zeros((1, 3)), tg.zeros((1, 2))), r"hx must be the pair"),
    (lambda: nn.RNNCell(3, 2, nonlinearity="x"), r"\[RNNCell\] nonlinearity"),
    (lambda: tg.gru_sequence(tg.zeros((2, 1, 3)), tg.zeros((1, 2)), tg.zeros((6, 4)),
                             tg.zeros((6, 2))), r"w_ih has shape \(6, 4\), \(6, 3\) would fit"),
    (lambda: tg.lstm_sequence(tg.zeros((2, 1, 3)), tg.zeros((1, 2)), tg.zeros((1, 3)),
                              tg.zeros((8, 3)), tg.zeros((8, 2))), r"c0 has shape \(1, 3\)"),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
