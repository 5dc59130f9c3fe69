"""CycleGAN: its losses against PyTorch's gradients, the pool, resuming, errors."""

import numpy as np
import pytest

import tinygen as tg
from tests.models.test_style import torch_transformer
from tinygen.data import DataLoader, PicturePatches, UnpairedPatches, draw_pictures
from tinygen.models import CycleGAN
from tinygen.models.cycle_gan import ImagePool
from tinygen.train import Trainer


def small(**options):
    tg.manual_seed(0)
    return CycleGAN((3, 16, 16), width=2, blocks=1, **options)


def batch(n=2, seed=0):
    return np.random.default_rng(seed).random((n, 3, 16, 16)).astype(np.float32)


class Recorder:
    """An optimizer that keeps the gradients it is given, and changes nothing."""

    def __init__(self, optimizer):
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        self.seen = [p.grad.numpy().copy() for p in self.parameters]


def torch_judge(torch, width):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 4, 1, 1), nn.InstanceNorm2d(4 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(4 * width, 1, 4, 1, 1))


def test_translators_and_discriminators_get_the_gradients_of_their_losses():
    torch = pytest.importorskip("torch")
    model = small(cycle_weight=3.0, identity_weight=1.5)
    twins = {}
    for name, twin in (("a_to_b", torch_transformer(torch, 3, 2, 1)),
                       ("b_to_a", torch_transformer(torch, 3, 2, 1)),
                       ("judge_a", torch_judge(torch, 4)), ("judge_b", torch_judge(torch, 4))):
        state = getattr(model, name).layers.state_dict()
        twin.load_state_dict({k: torch.tensor(v.numpy()) for k, v in state.items()})
        twins[name] = twin.double()
    a, b = batch(), batch(seed=1)
    recorders = {k: Recorder(o) for k, o in model.configure_optimizers().items()}
    losses = model.training_step(a, b, recorders)

    x, y = (torch.tensor(v).double() * 2 - 1 for v in (a, b))
    g, f, judge_a, judge_b = (twins[k] for k in ("a_to_b", "b_to_a", "judge_a", "judge_b"))
    fake_b, fake_a = g(x), f(y)
    adversarial = (((judge_b(fake_b) - 1) ** 2).mean() + ((judge_a(fake_a) - 1) ** 2).mean()) / 2
    cycle = (f(fake_b) - x).abs().mean() + (g(fake_a) - y).abs().mean()
    identity = (g(y) - y).abs().mean() + (f(x) - x).abs().mean()
    wanted = torch.autograd.grad(adversarial + 3 * cycle + 1.5 * identity,
                                 [*g.parameters(), *f.parameters()])
    for ours, theirs in zip(recorders["translators"].seen, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
    fakes = fake_a.detach(), fake_b.detach()
    judged = sum(((d(real) - 1) ** 2).mean() + (d(fake) ** 2).mean() for d, real, fake in
                 ((judge_a, x, fakes[0]), (judge_b, y, fakes[1]))) / 2
    wanted = torch.autograd.grad(judged, [*judge_a.parameters(), *judge_b.parameters()])
    for ours, theirs in zip(recorders["discriminators"].seen, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
    for name, value in {"adversarial": adversarial, "cycle": cycle, "identity": identity,
                        "discriminator": judged}.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4)
    assert all(p.requires_grad for p in model.parameters())


def test_the_pool_fills_up_then_exchanges_half_of_the_pictures():
    pool = ImagePool(4, (1, 1, 1))
    tg.manual_seed(0)

    def pictures(*values):
        return tg.Tensor(np.array(values, np.float32).reshape(-1, 1, 1, 1))
    assert pool.exchange(pictures(1, 2, 3, 4)).numpy().ravel().tolist() == [1, 2, 3, 4]
    new = np.arange(5, 205)
    handed = pool.exchange(pictures(*new)).numpy().ravel()
    exchanged = handed != new
    assert 70 < exchanged.sum() < 130
    assert (handed[exchanged] < new[exchanged]).all(), "handed out are pictures of the past"
    left = pool.images.numpy().ravel()
    everything = sorted([*handed, *left])
    assert everything == list(range(1, 5 + 200)), "each picture is in the pool or was handed out"
    assert ImagePool(0, (1, 1, 1)).exchange(pictures(7)).numpy().ravel().tolist() == [7]


def test_a_run_resumes_exactly_pool_and_all(tmp_path):
    photos, painting = draw_pictures(24, 24)

    def run(out, steps, resume=False):
        model = small(pool_size=3)
        patches = UnpairedPatches(PicturePatches(photos, 16, 12),
                                  PicturePatches([painting], 16, 12))
        Trainer(model, DataLoader(patches, 2, seed=3), out=out, steps=steps, seed=5, samples=0,
                progress=False).fit(resume=resume)
        return {k: v.numpy() for k, v in model.state_dict().items()}
    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 4)
    resumed = run(tmp_path / "parts", 6, resume=True)
    assert whole["pool_a.count"] == 3
    for name, value in whole.items():
        assert np.array_equal(value, resumed[name]), name


def test_it_learns_to_return():
    model, photos, painting = small(), *draw_pictures(24, 24)
    a, b = (PicturePatches(p, 16, 4).batch(np.arange(4))[0]
            for p in (photos, [painting]))
    optimizers = model.configure_optimizers(lr=3e-3)
    before = {k: v.item() for k, v in model.evaluate(a, b).items()}
    for _ in range(25):
        model.training_step(a, b, optimizers)
    after = {k: v.item() for k, v in model.evaluate(a, b).items()}
    assert set(after) == {"cycle_a", "cycle_b", "identity_a", "identity_b"}
    assert all(after[name] < 0.9 * before[name] for name in after)
    there = model.translate(a)
    assert there.shape == (4, 3, 16, 16) and 0 <= there.numpy().min() <= there.numpy().max() <= 1
    back = model.translate(there, back=True).numpy()
    assert np.abs(back - a).mean() == pytest.approx(after["cycle_a"], rel=1e-4)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"\[cycle-gan\] images of 12x16"):
        CycleGAN((3, 12, 16))
    with pytest.raises(ValueError, match="must not be negative"):
        CycleGAN((3, 16, 16), cycle_weight=-1)
    model = small()
    with pytest.raises(ValueError, match="pictures of both kinds"):
        model.training_step(batch(), None, model.configure_optimizers())
    with pytest.raises(ValueError, match=r"built for \(N, 3, 16, 16\)"):
        model.training_step(batch(), batch()[:, :, :8], model.configure_optimizers())
