"""SSIM, PSNR, contrastive and mask losses against their definitions, written out with SciPy."""

import numpy as np
import pytest
from scipy.ndimage import correlate1d

import tinygen as tg
from tests.checking import difference, directions, dot
from tinygen import nn
from tinygen.autograd import grad_of

F = nn.functional
RNG = np.random.default_rng(0)


def blur(image):
    at = np.arange(11) - 5
    weights = np.exp(-at ** 2 / (2 * 1.5 ** 2))
    weights /= weights.sum()
    for axis in (0, 1):
        image = correlate1d(image, weights, axis, mode="reflect")
    return image[5:-5, 5:-5]


def ssim_of(x, y, span, contrast_only=False):
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    contrast = (2 * vxy + c2) / (vx + vy + c2)
    light = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return (contrast if contrast_only else light * contrast).mean()


@pytest.mark.parametrize("span", [1.0, 255.0])
@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (2, 3, 21, 17)])
def test_ssim_is_wangs(shape, span):
    x = RNG.uniform(0, span, shape)
    y = np.clip(x + RNG.normal(0, 0.1 * span, shape), 0, span)
    expected = [np.mean([ssim_of(a, b, span) for a, b in zip(p, q, strict=True)])
                for p, q in zip(x, y, strict=True)]
    ours = F.ssim(tg.Tensor(x), tg.Tensor(y), span, reduction="none")
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)
    assert F.ssim(tg.Tensor(x), tg.Tensor(x), span).item() == pytest.approx(1)
    loss = nn.SSIMLoss(span, reduction="sum")(tg.Tensor(x), tg.Tensor(y))
    assert loss.item() == pytest.approx(len(x) - np.sum(expected))


def test_ms_ssim_is_a_product_over_scales():
    weights = (0.3, 0.3, 0.4)
    x = RNG.uniform(0, 1, (1, 1, 48, 56))
    y = np.clip(x + RNG.normal(0, 0.05, x.shape), 0, 1)
    expected, a, b = 1.0, x[0, 0], y[0, 0]
    for i, w in enumerate(weights):
        expected *= ssim_of(a, b, 1.0, contrast_only=i < 2) ** w
        a, b = (v.reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2).mean((1, 3)) for v in (a, b))
    ours = F.ms_ssim(tg.Tensor(x), tg.Tensor(y), weights=weights)
    assert ours.item() == pytest.approx(expected, rel=1e-9)


def test_psnr_and_total_variation():
    x, y = RNG.uniform(0, 1, (2, 3, 5, 6)), RNG.uniform(0, 1, (2, 3, 5, 6))
    error = ((x - y) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(F.psnr(tg.Tensor(x), tg.Tensor(y), 2.0, "none").numpy(),
                               10 * np.log10(4 / error))
    varied = np.abs(np.diff(x, axis=2)).sum((1, 2, 3)) + np.abs(np.diff(x, axis=3)).sum((1, 2, 3))
    np.testing.assert_allclose(F.total_variation(tg.Tensor(x), "none").numpy(), varied)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_info_nce_is_its_equation():
    q, k, m = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4)), RNG.standard_normal((5, 4))
    for negatives in (None, m):
        losses = []
        for i in range(3):
            others = unit(k) if negatives is None else np.vstack([unit(k)[i], unit(m)])
            scores = np.exp(others @ unit(q)[i] / 0.2)
            losses.append(-np.log(scores[i if negatives is None else 0] / scores.sum()))
        ours = nn.InfoNCELoss(0.2, "none")(tg.Tensor(q), tg.Tensor(k), None if negatives is None
                                           else tg.Tensor(m))
        np.testing.assert_allclose(ours.numpy(), losses)


def test_nt_xent_and_clip_are_their_equations():
    a, b = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 3))
    z = unit(np.vstack([a, b]))
    s = np.exp(z @ z.T / 0.5)
    np.fill_diagonal(s, 0)
    partner = np.r_[4:8, 0:4]
    expected = -np.log(s[np.arange(8), partner] / s.sum(1))
    np.testing.assert_allclose(nn.NTXentLoss(0.5, "none")(tg.Tensor(a), tg.Tensor(b)).numpy(),
                               expected)
    s = np.exp(3.0 * unit(a) @ unit(b).T)
    own = np.diag(s)
    expected = -0.5 * (np.log(own / s.sum(1)) + np.log(own / s.sum(0))).mean()
    assert F.clip_loss(tg.Tensor(a), tg.Tensor(b), 3.0).item() == pytest.approx(expected)


def test_dice_and_focal_are_their_equations():
    x, t = RNG.standard_normal((2, 5)), RNG.integers(0, 2, (2, 5)).astype(float)
    p = 1 / (1 + np.exp(-x))
    dice = 1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
    np.testing.assert_allclose(F.dice_loss(tg.Tensor(p), tg.Tensor(t), reduction="none").numpy(),
                               dice)
    pt, at = np.where(t == 1, p, 1 - p), np.where(t == 1, 0.25, 0.75)
    np.testing.assert_allclose(F.sigmoid_focal_loss(tg.Tensor(x), tg.Tensor(t)).numpy(),
                               -at * (1 - pt) ** 2 * np.log(pt))


IMAGES = RNG.uniform(0.2, 0.8, (2, 1, 12, 12))
ROWS = RNG.standard_normal((4, 5))
SECOND = {
    "ssim": (lambda x: F.ssim(x, tg.Tensor(IMAGES[::-1].copy())), IMAGES),
    "hinge squared": (lambda x: F.hinge_loss(x, tg.Tensor(np.sign(ROWS)), squared=True), ROWS / 3),
    "cosine embedding": (lambda x: F.cosine_embedding_loss(x, x[::-1] ** 2, tg.ones(4)), ROWS),
    "triplet": (lambda x: F.triplet_margin_loss(x, x * 2, x[::-1], 3.0), ROWS),
    "info_nce": (lambda x: F.info_nce(x, x ** 2), ROWS),
    "ctc": (lambda x: F.ctc_loss(tg.ops.log_softmax(x[:, None], -1), [[1, 2]], [4], [2]), ROWS),
    "gaussian": (lambda x: F.gaussian_nll_loss(x, x[::-1], tg.exp(x)), ROWS),
    "focal": (lambda x: F.sigmoid_focal_loss(x, tg.Tensor((ROWS > 0) * 1.0)).sum(), ROWS),
    "multi margin": (lambda x: F.multi_margin_loss(x, [0, 1, 2, 3], p=2, margin=4.0), ROWS),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_agree_with_differences(name):
    loss, x = SECOND[name]
    rng = np.random.default_rng(3)

    def slope(values, create_graph=False):
        t = tg.Tensor(values, requires_grad=True)
        return t, grad_of(loss(t), t, create_graph=create_graph)[0]
    u = directions([x], rng)[0]
    t, g = slope(x, True)
    second = grad_of((g * u).sum(), t)[0].numpy()
    along = directions([x], rng)
    numeric = difference(lambda xs: float((slope(xs[0])[1].numpy() * u).sum()), [x], along)
    assert dot([second], along) == pytest.approx(numeric, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("mode", F.GAN_LOSSES)
def test_gan_losses_as_a_module(mode):
    loss = nn.GANLoss(mode)
    real, fake = tg.Tensor(ROWS[:, :1]), tg.Tensor(ROWS[:, 1:2])
    parts = F.GAN_LOSSES[mode]
    assert loss(real, fake).item() == parts.discriminator(real, fake, 0.0).item()
    assert loss.generator(fake).item() == parts.generator(fake).item()
    assert mode in repr(loss)


def test_relativistic_losses_compare_both_sides():
    r, f = ROWS[:, 0], ROWS[:, 1]
    real, fake = tg.Tensor(r), tg.Tensor(f)

    def nll(gap):
        return np.log1p(np.exp(-gap)).mean()
    loss = nn.GANLoss("relativistic")
    assert loss(real, fake).item() == pytest.approx(nll(r - f))
    assert loss.generator(fake, real).item() == pytest.approx(nll(f - r))
    loss = nn.GANLoss("relativistic-average")
    assert loss(real, fake).item() == pytest.approx(nll(r - f.mean()) + nll(r.mean() - f))
    assert loss.generator(fake, real).item() == pytest.approx(nll(f - r.mean()) + nll(f.mean() - r))


X, Y = tg.Tensor(ROWS), tg.Tensor(ROWS[:, :3].copy())
BAD = [
    (lambda: F.ssim(X, X), r"\[ssim\] two batches of images \(N, C, H, W\)"),
    (lambda: F.ssim(*[tg.ones((1, 1, 8, 8))] * 2), r"images of \(8, 8\) are smaller than the win"),
    (lambda: F.ms_ssim(*[tg.ones((1, 1, 40, 40))] * 2), r"5 scales need images of 161 pixels"),
    (lambda: F.info_nce(X, Y), r"\[info_nce\] two tensors \(N, D\) of one shape.*\(4, 5\)"),
    (lambda: F.info_nce(X, X, temperature=0), r"temperature must be positive, got 0"),
    (lambda: F.hinge_loss(X, Y), r"\[hinge_loss\] input: \(4, 5\), target: \(4, 3\)"),
    (lambda: F.multi_margin_loss(X, [0, 1, 2, 5]), r"numbers from 0 to 5; there are 5 classes"),
    (lambda: F.multi_margin_loss(X, [0, 1, 2, 3], p=3), r"p must be 1 or 2, got 3"),
    (lambda: F.triplet_margin_loss(X, X, X, margin=0), r"margin must be positive"),
    (lambda: F.gaussian_nll_loss(X, X, tg.ones((4, 2))), r"var has shape \(4, 2\)"),
    (lambda: F.gaussian_nll_loss(X, X, X), r"var must not be negative"),
    (lambda: F.ctc_loss(X, [[1]], [5], [1]), r"input_lengths go from 5 to 5: .* the 4 frames"),
    (lambda: F.ctc_loss(X, [[9]], [4], [1]), r"there are 5 classes"),
    (lambda: F.ctc_loss(X, [[1]], [4], [1], blank=7), r"blank=7 is none of the 5 classes"),
    (lambda: F.soft_margin_loss(X, X, reduction="avg"),
     r"reduction must be one of mean, sum, none"),
    (lambda: nn.GANLoss("wgan"), r"loss must be one of non-saturating.*relativistic-average"),
    (lambda: nn.GANLoss("relativistic", 0.1), r"relativistic loss has no targets"),
    (lambda: nn.GANLoss("relativistic").generator(X), r"logits of both: \(fake, real\)"),
    (lambda: F.cosine_embedding_loss(X, X, X), r"\(N, D\) and \(N,\)"),
]


@pytest.mark.parametrize("call, message", BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
