"""PSNR and SSIM: scikit-image's numbers, SciPy's filters, formulas, and errors."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import tinygen as tg
from tinygen.metrics import psnr, ssim


def pair():
    """A picture of 24x20 and a changed one, the same on every machine."""
    i = np.arange(24 * 20).reshape(24, 20)
    a = (i * 37 % 101) / 100
    return a, np.clip(a * 0.8 + 0.1 + 0.1 * np.sin(i), 0, 1)


def test_numbers_are_those_of_scikit_image():
    """scikit-image 0.26: peak_signal_noise_ratio, and structural_similarity with
    gaussian_weights=True, use_sample_covariance=False, sigma 1.5 and 1.0 (windows 11 and 9)."""
    a, b = pair()
    assert psnr(a, b) == pytest.approx(20.664779484989463, rel=1e-12)
    assert ssim(a, b) == pytest.approx(0.9394971643053874, rel=1e-12)
    assert ssim(a, b, window=9, sigma=1.0) == pytest.approx(0.9401664112541456, rel=1e-12)


def test_ssim_is_the_formula_over_scipys_gaussian_filter():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 2, 20, 31))
    expected = []
    for image in range(3):
        maps = []
        for c in range(2):
            a, b = x[image, c] * 255, y[image, c] * 255
            blur = lambda z: gaussian_filter(z, 1.5, truncate=3.5)[5:-5, 5:-5]
            ma, mb = blur(a), blur(b)
            va, vb, cov = blur(a * a) - ma ** 2, blur(b * b) - mb ** 2, blur(a * b) - ma * mb
            c1, c2 = 2.55 ** 2, 7.65 ** 2
            maps.append((2 * ma * mb + c1) * (2 * cov + c2)
                        / ((ma ** 2 + mb ** 2 + c1) * (va + vb + c2)))
        expected.append(np.mean(maps))
    found = ssim(x * 255, y * 255, data_range=255)
    assert found.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(ssim(tg.Tensor(x), tg.Tensor(y)), expected, rtol=1e-10)


def test_psnr_is_ten_logarithms_of_the_error():
    a = np.zeros((2, 3, 4, 4))
    b = a + np.array([0.1, 0.01]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(psnr(a, b), [20, 40], rtol=1e-12)
    np.testing.assert_allclose(psnr(a * 255, b * 255, data_range=255), [20, 40], rtol=1e-12)
    assert psnr(a[0], b[0]) == pytest.approx(20) and psnr(a[0, 0], a[0, 0]) == np.inf
    # uint8 pictures are not subtracted modulo 256
    dark, light = np.full((4, 4), 10, np.uint8), np.full((4, 4), 20, np.uint8)
    assert psnr(dark, light, data_range=255) == pytest.approx(20 * np.log10(25.5))


def test_ssim_of_equal_opposite_and_shifted_pictures():
    a, b = pair()
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)
    assert ssim(a, 1 - a) < -0.9
    assert ssim(a, b) > ssim(a, np.clip(b + 0.3, 0, 1)) > ssim(a, b[::-1])


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_unfit_pictures_are_refused(measure):
    name = rf"\[{measure.__name__}\] "
    with pytest.raises(ValueError, match=name + r"images: \(2, 1, 16, 16\), originals: \(1, 16"):
        measure(np.zeros((2, 1, 16, 16)), np.zeros((1, 16, 16)))
    with pytest.raises(ValueError, match=name + r"images: \(0, 1, 16, 16\)"):
        measure(np.zeros((0, 1, 16, 16)), np.zeros((0, 1, 16, 16)))
    with pytest.raises(ValueError, match=name + "data_range must be positive"):
        measure(np.zeros((16, 16)), np.zeros((16, 16)), data_range=0)


@pytest.mark.parametrize("window", [10, 17, 0])
def test_windows_must_be_odd_and_fit(window):
    with pytest.raises(ValueError, match=rf"\[ssim\] window {window} .* pictures of 16x16"):
        ssim(np.zeros((16, 16)), np.zeros((16, 16)), window=window)
