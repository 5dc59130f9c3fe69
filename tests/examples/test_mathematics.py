"""The statements of mathematics hold and are drawn; a statement that is made wrong is found out."""

import doctest
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.distributions import Binomial, Exponential, Normal

ROOT = Path(__file__).parents[2]
PAGES = ("algebra", "calculus", "probability")

pytest.importorskip("matplotlib")


def load(page):
    return runpy.run_path(str(ROOT / "examples" / f"mathematics_{page}.py"))


@pytest.mark.parametrize("page", PAGES)
def test_every_statement_holds_and_is_drawn(page, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", [page, "--quick", "--out", str(tmp_path)])
    script = load(page)
    assert script["main"]() == {"statements": 6}
    assert (tmp_path / f"mathematics-{page}.png").read_bytes().startswith(b"\x89PNG")
    assert "6 statements hold" in capsys.readouterr().out


class Axes:
    """Axes that take any drawing and draw nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


@pytest.mark.parametrize(("page", "statement"), [
    ("algebra", "product_gradient"), ("calculus", "derivative"),
    ("calculus", "partial_derivatives")])
def test_a_wrong_gradient_is_found_out(page, statement, monkeypatch):
    script = load(page)
    script[statement](Axes())
    right = tg.grad

    def slightly_wrong(f, **options):
        return lambda *args: _scaled(right(f, **options)(*args))

    monkeypatch.setattr(tg, "grad", slightly_wrong)
    with pytest.raises(AssertionError):
        script[statement](Axes())


def _scaled(gradients):
    if isinstance(gradients, tuple):
        return tuple(g * 1.001 for g in gradients)
    return gradients * 1.001


def drawn(shape, p):
    """Ten throws with another probability than the law's."""
    return (tg.rand(10, *shape) < p).astype(tg.float64).sum(axis=0)


@pytest.mark.parametrize("statement", [
    "mass_function", "density", "large_numbers", "central_limit"])
def test_biased_draws_are_found_out(statement, monkeypatch):
    tg.manual_seed(0)
    script = load("probability")
    monkeypatch.setattr(Binomial, "sample", lambda self, n: drawn(n, 0.31))
    for law in (Exponential, Normal):
        fair = law.sample
        monkeypatch.setattr(law, "sample", lambda self, n, fair=fair: fair(self, n) * 1.05)
    with pytest.raises(AssertionError):
        script[statement](Axes())


def test_the_page_says_what_runs():
    tg.manual_seed(0)
    with np.printoptions():
        failed, tried = doctest.testfile(str(ROOT / "docs" / "mathematics.md"),
                                         module_relative=False)
    assert tried > 40 and not failed
