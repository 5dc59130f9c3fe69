"""Running statistics: a primitive moves them in place, so programs may be replayed."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.jit import capture
from tinygen.nn import functional as F
from tinygen.ops.batchnorm import update_statistics


def statistics(layer):
    return [b.data.copy() for b in layer.buffers()]


@pytest.mark.parametrize("momentum", [0.3, None])
def test_the_primitive_changes_what_it_names_and_nothing_else(momentum):
    rng = np.random.default_rng(0)
    mean, var, r_mean, r_var = (tg.Tensor(rng.random(3)) for _ in range(4))
    tracked = tg.Tensor(np.array(4))
    before = [t.data.copy() for t in (mean, var, r_mean, r_var, tracked)]
    update_statistics(mean, var, r_mean, r_var, tracked, momentum=momentum, correction=1.5)
    after = [t.data for t in (mean, var, r_mean, r_var, tracked)]
    changed = {i for i, (a, b) in enumerate(zip(after, before, strict=True))
               if not np.array_equal(a, b)}
    assert changed == set(update_statistics.writes)
    m = momentum or 1 / 5
    np.testing.assert_allclose(r_mean.data, (1 - m) * before[2] + m * before[0], rtol=1e-12)
    np.testing.assert_allclose(r_var.data, (1 - m) * before[3] + m * 1.5 * before[1], rtol=1e-12)
    assert tracked.item() == 5


@pytest.mark.parametrize("make", [
    lambda: nn.BatchNorm2d(3, momentum=0.2), lambda: nn.BatchNorm2d(3, momentum=None),
    lambda: nn.InstanceNorm2d(3, track_running_stats=True, affine=True)])
def test_a_replayed_training_step_moves_them_like_an_eager_one(make):
    """Forward, backward and the statistics, captured once and replayed on other batches."""
    eager, captured = make().double(), make().double()
    rng = np.random.default_rng(1)
    batches = [tg.Tensor(rng.standard_normal((4, 3, 5, 5))) for _ in range(4)]

    def step(layer, x):
        x = x.detach().requires_grad_()
        loss = (layer(x) ** 3.0).sum()
        return loss.detach(), *tg.autograd.grad_of(loss, [x, layer.weight])
    program = capture(lambda x: step(captured, x), batches[0])
    step(eager, batches[0])
    for x in batches[1:]:
        for got, expected in zip(program.replay(x), step(eager, x), strict=True):
            np.testing.assert_allclose(got.data, expected.data, rtol=1e-12)
        for a, b in zip(statistics(captured), statistics(eager), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_assignments_are_recorded_and_other_changes_in_place_refused():
    total = tg.zeros((3,))

    def step(x):
        y = x + total
        total.assign_(y)
        return y
    program = capture(step, tg.ones((3,)))
    assert [program.replay(tg.ones((3,))).data[0] for _ in range(2)] == [2.0, 3.0]
    assert total.data[0] == 3.0

    def by_hand(x):
        y = x + total
        total.data[...] = y.data
        total.touch()
        return y
    with pytest.raises(RuntimeError, match="changed in place while it was captured"):
        capture(by_hand, tg.ones((3,)))


def test_a_graph_that_read_the_old_statistics_is_stale():
    layer = nn.BatchNorm1d(2).eval()
    y = layer(tg.randn(3, 2, requires_grad=True))
    layer.running_mean.requires_grad_(False)
    layer.train()(tg.randn(3, 2))
    with pytest.raises(RuntimeError, match="modified"):
        y.sum().backward()


def test_an_empty_batch_moves_nothing():
    layer = nn.BatchNorm1d(2)
    x = tg.zeros((0, 2), requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.shape == (0, 2) and not layer.weight.grad.data.any()
    assert layer.running_var.data.tolist() == [1, 1]
    assert layer.num_batches_tracked.item() == 1        # but it counts, as in PyTorch


@pytest.mark.parametrize(("call", "words"), [
    (lambda x: F.batch_norm(x, None, None, training=False), "are needed when training=False"),
    (lambda x: F.instance_norm(x, use_input_stats=False), "are needed when use_input_stats=False"),
    (lambda x: F.batch_norm(x, tg.zeros((2,)), None, training=True), "has 3 channels"),
    (lambda x: F.instance_norm(x, weight=tg.ones((4,))), "[instance_norm] weight has shape (4,)"),
    (lambda x: F.instance_norm(x[:, :, :1]), "more than one value per channel"),
    (lambda x: F.batch_norm(x, tg.zeros((3,)), tg.ones((3,)), training=True, momentum=None),
     "momentum=None averages all batches"),
    (lambda x: F.group_norm(x, 2), "do not fall into 2 groups"),
    (lambda x: F.group_norm(x, 3, tg.ones((2,))), "weight has shape (2,)"),
    (lambda x: F.group_norm(x[:1, :, :1], 3), "one value per group"),
    (lambda x: F.rms_norm(x, (4,)), "[rms_norm] x has shape (2, 3, 5), which does not end in"),
    (lambda x: F.local_response_norm(x[0], 3), "at least three axes"),
    (lambda x: F.local_response_norm(x, 0), "size must be at least 1"),
    (lambda x: nn.InstanceNorm1d(4, affine=True)(x), "(N, C, L) or (C, L) with C = 4"),
    (lambda x: nn.InstanceNorm2d(3)(x[0, 0]), "(N, C, H, W) or (C, H, W)"),
    (lambda x: nn.BatchNorm3d(3)(x), "[BatchNorm3d] expected (N, C, D, H, W)"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError) as caught:
        call(tg.ones((2, 3, 5)))
    assert words in str(caught.value)


def test_instance_norm_says_when_the_number_of_channels_does_not_matter():
    with pytest.warns(UserWarning, match="num_features=4"):
        nn.InstanceNorm1d(4)(tg.randn(2, 3, 5))
