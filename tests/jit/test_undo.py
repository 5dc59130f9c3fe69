"""A replay that fails half-way leaves everything as it was, but for gradients where they are large,
which are gone; the next call works."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.jit import bind, capture, passes
from tinygen.jit import program as program_of
from tinygen.jit import undo as undo_of
from tinygen.jit.undo import Undo

F = nn.functional


def gan():
    """Both updates, running statistics on both sides, dropout, an average of the weights."""
    tg.manual_seed(0)
    g = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    d = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Dropout(0.3),
                      nn.Linear(8, 1))
    optimizers = [optim.Adam(d.parameters(), lr=1e-2), optim.SGD(g.parameters(), lr=1e-2,
                                                                 momentum=0.9)]
    average = optim.EMA(g, 0.9)

    def step(real):
        made = g(tg.random.normal((len(real), 2)))
        optimizers[0].zero_grad()
        d_loss = F.softplus(-d(real)).mean() + F.softplus(d(made.detach())).mean()
        d_loss.backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        g_loss = F.softplus(-d(made)).mean()
        g_loss.backward()
        nn.utils.clip_grad_norm_(g.parameters(), 1.0)
        optimizers[1].step()
        average.update()
        return d_loss.detach(), g_loss.detach()
    return [g, d], [*optimizers, average], step


def norms():
    """One network with running statistics and one update."""
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5),
                          nn.Linear(6, 2), nn.BatchNorm1d(2))
    optimizer = optim.AdamW(model.parameters(), lr=0.01)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach(), loss.detach()
    return [model], [optimizer], step


def everything(models, others, gradients=True):
    """All values, gradients (or none), states of optimizers and of the generator."""
    state = [t.data.tobytes() for m in models for t in m.state_dict().values()]
    state += [None if p.grad is None or not gradients else p.grad.data.tobytes()
              for m in models for p in m.parameters()]
    for other in others:
        if isinstance(other, optim.EMA):
            state += [other.updates, *(t.data.tobytes() for t in other.averages.values())]
        else:
            state += [t.data.tobytes() for entry in other.state.values() for t in entry.values()]
    return [*state, repr(tg.random.get_state())]


def batch(seed):
    return tg.Tensor(np.random.default_rng(seed).standard_normal((6, 3)).astype("f"))


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("make", [gan, norms])
def test_a_row_that_fails_changes_nothing(monkeypatch, make, fuse):
    """Each row in turn, when it is called, and updates but the last when they are done."""
    models, others, step = make()
    fast = tg.jit(step, fuse=fuse)
    for seed in range(3):
        fast(batch(seed))
    program = fast.program()
    assert any(program.written(row) for row in program.rows)
    real, fails = bind.row_function, {}

    def row_function(program, row, *how):
        function = real(program, row, *how)

        def run(*given, **attrs):
            if fails.get("row") == row.number and fails["when"] == "before":
                raise fails["error"]("injected")
            made = function(*given, **attrs)
            if fails.get("row") == row.number and fails["when"] == "after":
                raise fails["error"]("injected")
            return made
        return run
    monkeypatch.setattr(bind, "row_function", row_function)
    program.__dict__["_bound"] = bind.bind(program)
    recorded, = fast._recorded
    recorded.tried = recorded.enter = None
    fast(batch(3))
    assert recorded.enter is not None
    before = everything(models, others)
    for i, row in enumerate(program.rows):
        last = i == len(program.rows) - 1
        for when in ("before", "after") if program.written(row) and not last else ("before",):
            kinds = (RuntimeError, KeyboardInterrupt, MemoryError)
            for error in kinds if i % 7 == 0 or last else kinds[:1]:
                fails.update(row=row.number, when=when, error=error)
                with pytest.raises(error):
                    fast(batch(7))
                assert everything(models, others) == before, (row, when)
    fails.clear()
    state, expected = tg.random.get_state(), [x.item() for x in fast(batch(7))]
    other_models, other_others, other_step = make()
    again = tg.jit(other_step, fuse=fuse)
    for seed in range(4):
        again(batch(seed))
    tg.random.set_state(state)
    assert [x.item() for x in again(batch(7))] == expected
    assert everything(models, others) == everything(other_models, other_others)


@pytest.mark.parametrize("few", [True, False])
def test_a_number_out_of_range_fails_as_it_does_without_jit(few, monkeypatch):
    """Tokens are looked up before and after an update."""
    if not few:
        monkeypatch.setattr(program_of, "FEW", 0)
    table, other = nn.Embedding(5, 2), nn.Embedding(3, 2)
    optimizer = optim.SGD(table.parameters(), lr=0.1)

    def step(tokens):
        optimizer.zero_grad()
        table(tokens).sum().backward()
        optimizer.step()
        return (other(tokens) * table(tokens)).sum().detach()
    fast = tg.jit(step)
    for _ in range(2):
        fast(tg.Tensor([0, 1, 2]))
    before = everything([table, other], [optimizer], gradients=few)
    with pytest.raises(IndexError, match="4"):
        fast(tg.Tensor([0, 1, 4]))
    assert everything([table, other], [optimizer]) == before
    expected = step(tg.Tensor([0, 1, 2])).item()
    table.weight.assign_(np.frombuffer(before[0], "f").reshape(5, 2))
    assert fast(tg.Tensor([0, 1, 2])).item() == pytest.approx(expected, rel=1e-6)


def test_what_stands_last_needs_no_copy():
    """Of one network only the small statistics are copied; of a GAN also the first update."""
    models, _, step = norms()
    program = capture(step, batch(0)).optimized(False)
    kept = {id(x) for x in Undo(program).outside}
    assert kept == {id(b) for b in models[0].buffers()}
    models, _, step = gan()
    undo = Undo(capture(step, batch(0)).optimized(False))
    kept = {id(x) for x in undo.outside}
    assert {id(p) for p in models[1].parameters()} <= kept
    assert undo.generators == [tg.random.default_generator()]
    real = undo_of.SMALL, undo_of.TINY
    try:            # as if the networks were large: none of the rows behind the update can fail
        undo_of.SMALL, undo_of.TINY = 0, 0
        assert not Undo(capture(step, batch(0)).optimized(False)).outside
    finally:
        undo_of.SMALL, undo_of.TINY = real
    double = Undo(capture(lambda x: x * 2, batch(0)).optimized(False))
    assert not double.needed


def test_updates_wait_for_all_that_reads_what_they_change():
    w, mean = tg.ones((2,)), tg.zeros((2,))

    def f(x):
        optim.ema.mix_update(mean, x, weight=0.5)      # nobody reads it
        first = w * x
        w.assign_(first)                                # is read below
        second = w * x
        mean.assign_(mean + second)
        return first, second, x * 3
    program = capture(f, tg.ones((2,)))
    for improve in passes.PASSES:
        program = improve(program)
    names = [row.op.name for row in passes.updates_last(program).rows]
    assert names == ["multiply", "assign", "multiply", "mix_update", "add", "multiply", "assign"]
    found = []
    for run in (f, program.replay, passes.updates_last(program).replay):
        w.assign_(tg.ones((2,)))
        mean.assign_(tg.zeros((2,)))
        found.append([[y.tolist() for y in run(tg.Tensor([2.0, 3.0]))] + [w.tolist(), mean.tolist()]
                      for _ in range(2)])
    assert found[0] == found[1] == found[2]
