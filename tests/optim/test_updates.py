"""What the update rules promise: packing, blocks, layouts, state, graphs, tapes and kernels."""

import copy
import gc

import numpy as np
import pytest

import tinygen as tg
from tests.optim.helpers import MAKERS, arrays, assert_same, give, leaves, values, walk
from tinygen.jit import capture
from tinygen.optim import SGD, Adam, update
from tinygen.primitive import KERNELS, forget_implementations, kernel

# -- packing and blocks change no bit --------------------------------------------------------------


CHECKED = [pytest.param(make, id=name) for name, make in MAKERS.items()]


@pytest.mark.parametrize("make", CHECKED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packed_blocked_and_plain_updates_agree_bit_for_bit(make, dtype, monkeypatch):
    start = arrays(3, dtype=dtype)
    ends = []
    for pack_limit, block in ((update.PACK_LIMIT, 1 << 20), (-1, 1 << 20), (100, 7)):
        monkeypatch.setattr(update, "PACK_LIMIT", pack_limit)
        monkeypatch.setitem(update.BLOCK, "numpy", block)
        params = leaves(start)
        walk(make(params), params, 10, 5)
        ends.append(values(params))
    assert_same(ends[0], ends[1])
    assert_same(ends[0], ends[2])


@pytest.mark.parametrize("make", CHECKED)
def test_any_memory_layout(make):
    """Transposed parameters and gradients, in one piece and in blocks, keep their own arrays."""
    start = arrays(4, [(30, 20), (300, 200)])
    plain = leaves(start)
    turned = [tg.Tensor.wrap(np.asfortranarray(v)).requires_grad_() for v in start]
    own = [p.data for p in turned]
    one, two = make(plain), make(turned)
    for t in range(3):
        grads = arrays(t, [(30, 20), (300, 200)])
        give(plain, grads)
        for p, g in zip(turned, grads, strict=True):
            p.grad = tg.Tensor.wrap(np.ascontiguousarray(g.T).T)
        one.step()
        two.step()
    assert_same(values(plain), values(turned))
    assert all(p.data is a for p, a in zip(turned, own, strict=True))


def test_dtypes_in_one_group_stay_apart():
    mixed = [tg.Tensor(np.ones(3, d), requires_grad=True)
             for d in (np.float32, np.float64, np.float32, np.float16)]
    optimizer = Adam(mixed, lr=0.1, eps=1e-3)
    give(mixed, [np.ones(3, p.dtype) for p in mixed])
    optimizer.step()
    for p in mixed:
        assert p.data.dtype == p.grad.dtype == optimizer.state[p]["exp_avg"].dtype
        np.testing.assert_allclose(p.data, 0.9, rtol=3e-3)


@pytest.mark.parametrize("name", ["Rprop", "Lion", "Adafactor"])
def test_infinite_and_missing_numbers_stay_where_they_are(name):
    """An Inf that turns, a NaN and a zero do no harm to their neighbours, and zeros do not move."""
    (w,) = leaves([np.zeros(4, np.float32)])
    optimizer = getattr(tg.optim, name)([w], lr=0.5)
    for g in ([np.inf, 1.0, 0.0, 2.0], [-np.inf, 1.0, 0.0, 2.0]):
        give([w], [np.array(g, np.float32)])
        optimizer.step()
        assert w.data[2] == 0.0
    if name != "Adafactor":                 # whose steps depend on all elements
        assert np.isfinite(w.data).all() and w.data[1] == w.data[3] < 0


def test_half_precision():
    """Means of squares that float16 cannot hold."""
    (w,) = leaves([np.full((300, 300), 2.0, np.float16)])
    for name in ("Adafactor", "Lion", "SGD", "Rprop"):
        give([w], [np.ones((300, 300), np.float16)])
        getattr(tg.optim, name)([w], lr=0.25).step()
        assert w.dtype == np.float16 and np.isfinite(w.data).all() and np.ptp(w.data) == 0


# -- what a user may do between steps -------------------------------------------------------------


def test_learning_rate_is_read_at_each_step():
    (w,) = leaves([np.zeros(1)])
    optimizer = SGD([w], lr=1.0)
    for lr in (1.0, 0.5, 0.25):
        optimizer.param_groups[0]["lr"] = lr
        before = w.item()
        give([w], [np.ones(1)])
        optimizer.step()
        assert before - w.item() == lr


def test_state_that_is_changed_between_steps_counts():
    """Cleared, replaced and edited state are what the next step uses, packed or not."""
    def run(change):
        params = leaves(arrays(0))
        optimizer = Adam(params, lr=0.1)
        walk(optimizer, params, 5, 2)
        change(optimizer, params)
        walk(optimizer, params, 9, 1)
        return values(params)

    def fresh(optimizer, params):
        optimizer.state.clear()

    def new_optimizer(optimizer, params):
        optimizer.__init__(params, lr=0.1)

    def replaced(optimizer, params):
        for p in params:
            optimizer.state[p]["exp_avg"] = tg.zeros_like(p)

    def edited(optimizer, params):
        for p in params:
            optimizer.state[p]["exp_avg"].assign_(0.0)

    def emptied(optimizer, params):
        for p in params:
            optimizer.state[p].clear()

    assert_same(run(fresh), run(new_optimizer))
    assert_same(run(fresh), run(emptied))
    assert_same(run(replaced), run(edited))
    assert not np.array_equal(run(replaced)[0], run(fresh)[0])


def test_an_array_that_was_swapped_is_updated():
    params = leaves(arrays(0, [(2,), (3,)]))
    optimizer = SGD(params, lr=1.0)
    walk(optimizer, params, 0, 1)
    params[0].data = np.zeros(2)
    give(params, [np.ones(2), np.ones(3)])
    optimizer.step()
    assert params[0].tolist() == [-1.0, -1.0]


def test_groups_added_later_start_their_own_count():
    torch = pytest.importorskip("torch")
    start = arrays(0, [(2,), (3,)])
    ours, theirs = leaves(start), [torch.tensor(v, requires_grad=True) for v in start]
    optimizer, peer = Adam(ours[:1], lr=0.1), torch.optim.Adam(theirs[:1], lr=0.1)
    for t in range(6):
        if t == 3:
            optimizer.add_param_group({"params": ours[1], "betas": (0.5, 0.9)})
            peer.add_param_group({"params": theirs[1], "betas": (0.5, 0.9)})
        for p, q, g in zip(ours, theirs, arrays(t, [(2,), (3,)]), strict=True):
            p.grad, q.grad = tg.Tensor(g), torch.tensor(g)
        optimizer.step()
        peer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12)


def test_zero_grad():
    params = leaves(arrays(0, [(2,), (3,)]))
    optimizer = SGD(params)
    give(params, [np.ones(2), None])
    optimizer.zero_grad(set_to_none=False)
    assert params[0].grad.tolist() == [0.0, 0.0] and params[1].grad is None
    optimizer.zero_grad()
    assert params[0].grad is None


def test_closure_is_run_with_gradients_and_its_loss_returned():
    (w,) = leaves([np.full(1, 3.0)])
    optimizer = SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert w.item() == 0.0


def test_gradients_and_numbers_that_overflow_raise_no_warning():
    params = leaves([np.ones(3, np.float32)])
    optimizer = Adam(params)
    give(params, [np.array([1e30, np.nan, 1.0], np.float32)])
    optimizer.step()                       # warnings are errors in this test suite
    assert np.isnan(params[0].data[1]) and params[0].data[2] == np.float32(0.999)


# -- the graph, the garbage collector, tapes and kernels ------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_backward_after_the_step_is_refused(count):
    params = leaves(arrays(0, [(3,)] * count))
    loss = sum((p * p).sum() for p in params)
    stale = sum((p * p).sum() for p in params)
    loss.backward()
    SGD(params, lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified after it was used"):
        stale.backward()


def test_a_parameter_without_gradient_stays_usable():
    used, unused = leaves(arrays(0, [(3,), (3,)]))
    y = (unused * unused).sum()
    give([used, unused], [np.ones(3), None])
    SGD([used, unused], lr=0.1).step()
    y.backward()
    assert unused.grad is not None


def test_steps_leave_nothing_for_the_garbage_collector():
    params = leaves(arrays(0))
    optimizers = [make(params) for make in MAKERS.values()]
    schedule = tg.optim.lr_scheduler.StepLR(optimizers[0], 2)
    gc.collect()
    gc.disable()
    try:
        for t in range(4):
            for optimizer in optimizers:
                give(params, arrays(t))
                params[t].grad = None              # plans are remade
                optimizer.step()
                optimizer.state_dict()
            schedule.step()
        del optimizer, optimizers, schedule
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("make", CHECKED)
def test_a_recorded_step_can_be_replayed(make):
    """One row for each group of parameters; a replay is the next step with the same gradients."""
    start, grads = arrays(0), arrays(1)
    params, twins = leaves(start), leaves(start)
    optimizer, twin = make(params), make(twins)
    walk(optimizer, params, 5, 2)
    walk(twin, twins, 5, 2)
    give(params, grads)
    give(twins, grads)
    program = capture(lambda: optimizer.step())
    rule = optimizer.rule
    assert {row.op for row in program.rows} <= {rule, optimizer.together}
    assert len(program.rows) == (1 if optimizer.packs else len(params))
    program.optimized().replay()
    for _ in range(2):
        twin.step()
    optimizer.step()                               # what was recorded is still its state
    twin.step()
    assert_same(values(params), values(twins))


def test_a_recorded_step_reads_its_learning_rate():
    for rate in (tg.Tensor([1.0]), 1.0):
        w, = leaves([np.zeros(2)])
        optimizer = SGD([w], lr=rate)
        give([w], [np.ones(2)])
        program = capture(lambda optimizer=optimizer: optimizer.step())
        if isinstance(rate, tg.Tensor):
            rate.assign_(0.25)
        else:
            optimizer.param_groups[0]["lr"] = 0.25
        program.replay()
        assert w.tolist() == [-1.25, -1.25]


@pytest.mark.parametrize("count", [1, 3])
def test_rules_write_where_they_say(count):
    for make in MAKERS.values():
        params = leaves([np.ones(4100)] * count)
        optimizer = make(params)
        walk(optimizer, params, 0, 1)
        give(params, [np.full(4100, 0.5)] * count)
        program = capture(lambda optimizer=optimizer: optimizer.step())
        row = program.rows[0]
        inputs = [x.now() for x in row.inputs]
        held = [copy.deepcopy(x.data) if isinstance(x, tg.Tensor) else x for x in inputs]
        with tg.no_grad():
            row.op(*inputs, **row.attrs)
        changed = {i for i, (x, old) in enumerate(zip(inputs, held, strict=True))
                   if isinstance(x, tg.Tensor) and not np.array_equal(x.data, old)}
        places = row.op.writes(**row.attrs) if callable(row.op.writes) else row.op.writes
        assert changed == {i for i in places if inputs[i] is not None}


def test_a_kernel_can_replace_the_rule():
    seen = []

    before = dict(KERNELS)

    @kernel("adam_update", np.ndarray)
    def _(p, g, m, v, v_max, step, lr, **options):
        seen.append(([p.shape], v_max, lr, options["beta1"]))
        return NotImplemented

    @kernel("adam_updates", np.ndarray)
    def _(*arrays, count, shared, **options):
        assert shared == (5,) and len(arrays) == 5 * count + 2
        seen.append(([p.shape for p in arrays[:count]], arrays[4 * count], arrays[-1],
                     options["beta1"]))
        return NotImplemented

    try:
        for sizes in [(2,), (3,), (4100,)], [(7,)]:
            params = leaves(arrays(0, sizes))
            walk(Adam(params, lr=0.1), params, 0, 1)
    finally:
        KERNELS.clear()
        KERNELS.update(before)
        forget_implementations()
    assert seen == [([(2,), (3,), (4100,)], None, 0.1, 0.9), ([(7,)], None, 0.1, 0.9)]


def test_copies_go_their_own_way():
    """A deep copy of parameters and optimizer together continues as the original would."""
    params = leaves(arrays(0))
    optimizer = Adam(params, lr=0.1)
    walk(optimizer, params, 0, 3)
    twins, twin = copy.deepcopy((params, optimizer))
    walk(optimizer, params, 7, 2)
    walk(twin, twins, 7, 2)
    assert twin.param_groups[0]["params"][0] is twins[0]
    assert_same(values(params), values(twins))
