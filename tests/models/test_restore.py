"""Models that restore pictures: against PyTorch, and against their equations in NumPy."""

import copy

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.models import Inpainter, Restorer, UNet


def randomised(module, seed=0):
    """Every parameter drawn, the last convolution too, which starts at 0."""
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.assign_(tg.Tensor(rng.normal(0, 0.2, p.shape).astype(np.float32)))
    return module


def holes(n=5, channels=3, side=8, seed=0):
    """Originals, and the same with a hole of 4x4 and its mask."""
    rng = np.random.default_rng(seed)
    originals = rng.random((n, channels, side, side), dtype=np.float32)
    mask = np.zeros((n, 1, side, side), np.float32)
    mask[:, :, 2:6, 1:5] = 1
    return np.concatenate([np.where(mask == 1, 0.5, originals).astype(np.float32), mask], 1), \
        originals


def test_the_unet_is_the_same_network_in_pytorch():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    model = randomised(UNet(2, 3, width=3, depth=2))
    w = {name: torch.tensor(value.detach().numpy(), requires_grad=True)
         for name, value in model.state_dict().items()}
    x = np.random.default_rng(1).normal(size=(2, 2, 8, 12)).astype(np.float32)

    def conv(name, x, **how):
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **how)

    def up(name, x):
        return F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], 2, 1)

    a = conv("first.0", torch.tensor(x), padding=1).relu()                     # 8x12
    b = conv("down.0.0", a, stride=2, padding=1).relu()                        # 4x6
    c = conv("down.1.0", b, stride=2, padding=1).relu()                        # 2x3
    b = conv("join.1.0", torch.cat([up("up.1.0", c).relu(), b], 1), padding=1).relu()
    a = conv("join.0.0", torch.cat([up("up.0.0", b).relu(), a], 1), padding=1).relu()
    expected = conv("last", a, padding=1)
    expected.square().sum().backward()

    found = model(tg.Tensor(x))
    tg.ops.square(found).sum().backward()
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=2e-4,
                               atol=2e-4)
    for name, p in model.named_parameters():
        theirs = w[name].grad.numpy()
        np.testing.assert_allclose(p.grad.numpy(), theirs, rtol=1e-3, atol=1e-4 * abs(theirs).max())


def test_without_training_the_damaged_picture_comes_back():
    x = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(Restorer((1, 8, 8), width=4).restore(x), x)
    damaged, _ = holes()
    np.testing.assert_array_equal(Inpainter((3, 8, 8), width=4).restore(damaged), damaged[:, :3])


def test_only_the_hole_is_painted_and_only_its_error_counts():
    damaged, originals = holes()
    model = randomised(Inpainter((3, 8, 8), width=4))
    made = model(tg.Tensor(damaged)).detach().numpy()
    seen = np.broadcast_to(damaged[:, 3:] == 0, made.shape)
    np.testing.assert_array_equal(made[seen], originals[seen])
    assert (made[~seen] != 0.5).all()
    expected = np.square(made[~seen] - originals[~seen]).mean()
    assert model.evaluate(damaged, originals)["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert 0 <= model.restore(damaged).min() and model.restore(damaged).max() <= 1
    whole = damaged * np.array([1, 1, 1, 0], np.float32)[:, None, None]     # nothing is missing
    assert np.isfinite(model.evaluate(whole, originals)["loss"].item())


def test_a_step_moves_the_network_by_the_error_and_the_judgement_of_the_updated_discriminator():
    damaged, originals = (tg.Tensor(x) for x in holes(channels=1))
    bce = nn.functional.binary_cross_entropy_with_logits
    tg.manual_seed(0)
    model = Inpainter((1, 8, 8), width=4, depth=2, adversarial=0.5, d_width=4)
    randomised(model.network, 3)
    network, judge = copy.deepcopy(model.network), copy.deepcopy(model.discriminator)
    sgd = {"model": optim.SGD(model.network.parameters(), lr=0.01),
           "discriminator": optim.SGD(model.discriminator.parameters(), lr=0.1)}
    results = model.training_step(damaged, originals, sgd)

    mask = damaged[:, 1:]
    made = damaged[:, :1] + mask * network(damaged)
    scores = judge(originals * 2 - 1), judge(made.detach() * 2 - 1)
    loss = bce(scores[0], tg.ones(scores[0].shape)) + bce(scores[1], tg.zeros(scores[1].shape))
    loss.backward()
    optim.SGD(judge.parameters(), lr=0.1).step()
    verdict = judge(made * 2 - 1)
    fooling = bce(verdict, tg.ones(verdict.shape))
    error = tg.ops.square(mask * (made - originals)).sum() / mask.sum()
    (error + 0.5 * fooling).backward()
    optim.SGD(network.parameters(), lr=0.01).step()

    for name, value in (("loss", error), ("fooling", fooling), ("discriminator", loss)):
        assert results[name].item() == pytest.approx(value.item(), rel=1e-5), name
    for ours, by_hand in ((model.network, network), (model.discriminator, judge)):
        for p, q in zip(ours.parameters(), by_hand.parameters(), strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-4,
                                       atol=1e-6)


def test_without_a_weight_there_is_no_discriminator():
    model = Inpainter((3, 8, 12), width=4, depth=2)
    assert model.discriminator is None and set(model.configure_optimizers()) == {"model"}
    judged = Inpainter((3, 8, 8), width=4, adversarial=0.1, d_width=4)
    assert set(judged.configure_optimizers()) == {"model", "discriminator"}
    judged.network.load_state_dict(Inpainter((3, 8, 8), width=4).network.state_dict())


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Restorer((1, 6, 8)), r"\[restorer\] pictures of 6x8 cannot be halved 2 times"),
    (lambda: Restorer((1, 8, 8)).restore(np.zeros((2, 2, 8, 8), np.float32)),
     r"\[restorer\] damaged: float32 \(2, 2, 8, 8\); this model was built for \(N, 1, 8, 8\)"),
    (lambda: Restorer((1, 8, 8)).restore(np.zeros((0, 1, 8, 8), np.float32)), r"\(0, 1, 8, 8\)"),
    (lambda: Inpainter((1, 8, 8)).restore(np.zeros((2, 1, 8, 8), np.float32)),
     r"\(N, 2, 8, 8\), the last channel being the mask"),
    (lambda: Inpainter((1, 8, 8), adversarial=-1.0), r"adversarial must be 0 or more, got -1.0"),
    (lambda: Inpainter((1, 8, 16), adversarial=1.0), r"\[inpainter\] images of 8x16 cannot"),
    (lambda: Restorer((1, 8, 8)).evaluate(np.zeros((2, 1, 8, 8), np.float32)),
     r"\[restorer\] originals are needed beside damaged pictures"),
    (lambda: Restorer((1, 8, 8)).evaluate(*(np.zeros((n, 1, 8, 8), np.float32) for n in (2, 3))),
     r"\[restorer\] 2 damaged pictures and 3 originals"),
    (lambda: UNet(1, 1, depth=2)(tg.zeros((1, 1, 8, 6))), r"\[unet\] images: \(1, 1, 8, 6\)"),
    (lambda: UNet(0, 1), r"\[unet\] inputs must be a positive integer"),
])
def test_unfit_pictures_and_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
