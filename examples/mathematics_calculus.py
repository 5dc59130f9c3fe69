"""Calculus behind deep learning: each statement is checked with numbers, and drawn.

    python examples/mathematics_calculus.py                 # under runs/mathematics/
    python examples/mathematics_calculus.py --out docs/results

Every function below is one statement: it raises AssertionError where the statement fails, prints
how exactly it held, and draws it. docs/mathematics.md says them in formulas.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose

import tinygen as tg
from tinygen.viz import save_panels


def f(x):
    """The function of one variable that all statements share."""
    return tg.sin(x) * tg.exp(x / 4)


def antiderivative(x):
    """F with F' = f, by hand: e^(x/4) (sin(x)/4 - cos(x)) / (1 + 1/16)."""
    return tg.exp(x / 4) * (tg.sin(x) / 4 - tg.cos(x)) * (16 / 17)


def number(x):
    return tg.Tensor(x, dtype=tg.float64)


def derivative(ax):
    """f'(x) is the limit of (f(x + h) - f(x)) / h"""
    x, steps = number(1.2), np.logspace(-0.5, -14, 55)
    exact = tg.grad(f)(x).item()
    forward = [abs(((f(x + h) - f(x)) / h).item() - exact) for h in steps]
    central = [abs(((f(x + h) - f(x - h)) / (2 * h)).item() - exact) for h in steps]
    order = [np.log10(errors[4] / errors[12]) / np.log10(steps[4] / steps[12])
             for errors in (forward, central)]
    assert_allclose(order, [1, 2], atol=0.05)
    print(f"derivative    errors fall as h^{order[0]:.2f} (forward) and h^{order[1]:.2f} "
          f"(central), to {min(forward):.0e} and {min(central):.0e}")
    ax.loglog(steps, forward, "o-", markersize=3, label="(f(x+h) - f(x)) / h")
    ax.loglog(steps, central, "o-", markersize=3, label="(f(x+h) - f(x-h)) / 2h")
    ax.loglog(steps, 1e-16 / steps, "k:", label="rounding: 1e-16 / h")
    ax.set(xlabel="step h", ylabel="error", ylim=(1e-13, 10))
    ax.legend(fontsize=7)


def differential(ax):
    """df = f'(x) dx: the tangent, wrong by f'' dx^2 / 2"""
    x, dx = number(1.0), np.linspace(-1, 1, 9) * 1e-3
    slope, bend = tg.grad(f)(x).item(), tg.grad(tg.grad(f))(x).item()
    error = np.array([(f(x + d) - f(x)).item() - slope * d for d in dx])
    assert_allclose(error, bend * dx ** 2 / 2, atol=1e-9)
    print(f"differential  f' = {slope:.4f}; f'' = {bend:.4f} from the gradient of the gradient")
    xs = np.linspace(-1, 4, 200)
    ax.plot(xs, f(tg.Tensor(xs)).numpy(), label="f")
    ax.plot(xs[60:110], f(x).item() + slope * (xs[60:110] - 1), "C1", label="tangent at 1")
    ax.plot(1, f(x).item(), "ko", markersize=4)
    ax.legend(fontsize=8)


def integral(ax):
    """The integral over [a, b] is F(b) - F(a)"""
    a, b = 0.0, 3.0
    exact = (antiderivative(number(b)) - antiderivative(number(a))).item()
    counts = 2 ** np.arange(1, 13)
    rules = {"trapezoid": trapezoid, "Simpson": simpson}
    errors = {name: [abs(rule(f, a, b, n) - exact) for n in counts] for name, rule in rules.items()}
    order = [np.log2(errors[name][4] / errors[name][5]) for name in rules]
    assert_allclose(order, [2, 4], atol=0.05)
    gauss = [abs(gauss_legendre(f, a, b, n) - exact) for n in range(2, 12)]
    assert gauss[-1] < 1e-13
    shifted = (antiderivative(number(b)) + 7) - (antiderivative(number(a)) + 7)
    assert_allclose(shifted.item(), exact, atol=1e-14)      # the constant C drops out
    print(f"integral      {exact:.12f}; trapezoid h^{order[0]:.2f}, Simpson h^{order[1]:.2f}, "
          f"11 Gauss points: error {gauss[-1]:.0e}")
    for name in rules:
        ax.loglog(counts + 1, errors[name], "o-", markersize=3, label=name)
    ax.loglog(range(2, 12), np.maximum(gauss, 1e-16), "o-", markersize=3, label="Gauss-Legendre")
    ax.set(xlabel="points", ylabel="error")
    ax.legend(fontsize=8)


def trapezoid(f, a, b, n):
    """Straight lines through n + 1 points."""
    x = tg.linspace(a, b, n + 1, dtype=tg.float64)
    return tg.trapezoid(f(x), dx=(b - a) / n).item()


def simpson(f, a, b, n):
    """Parabolas through n + 1 points, n even: (4 T_n - T_{n/2}) / 3."""
    return (4 * trapezoid(f, a, b, n) - trapezoid(f, a, b, n // 2)) / 3


def gauss_legendre(f, a, b, n):
    """n points, exact for polynomials up to degree 2n - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    x = tg.Tensor((a + b) / 2 + nodes * (b - a) / 2)
    return (f(x) * tg.Tensor(weights)).sum().item() * (b - a) / 2


def fundamental_theorem(ax):
    """d/dx of the integral from a to x is f(x)"""
    x = np.linspace(0, 4, 801)
    values, h = f(tg.Tensor(x)), x[1] - x[0]
    area = tg.cumsum((values[1:] + values[:-1]) * (h / 2), axis=0)       # up to x[1], x[2], ...
    assert_allclose(area.numpy(), (antiderivative(tg.Tensor(x[1:]))
                                   - antiderivative(number(0.0))).numpy(), atol=1e-4)
    slope = ((area[2:] - area[:-2]) / (2 * h)).numpy()                   # at x[2], ..., x[-2]
    error = np.abs(slope - values.numpy()[2:-1]).max()
    assert error < 1e-4
    # Differentiating through the quadrature: the upper end is a variable of its own.
    def up_to(end):
        nodes, weights = np.polynomial.legendre.leggauss(20)
        return (f(end * tg.Tensor((nodes + 1) / 2)) * tg.Tensor(weights)).sum() * end / 2
    assert_allclose(tg.grad(up_to)(number(2.5)).item(), f(number(2.5)).item(), rtol=1e-12)
    print(f"fundamental   slope of the area and f differ by {error:.0e} at most")
    ax.fill_between(x, values.numpy(), alpha=0.2)
    ax.plot(x, values.numpy(), label="f")
    ax.plot(x[1:], area.numpy(), label="area from 0 to x")
    ax.plot(x[2:-1:40], slope[::40], "k.", label="slope of the area")
    ax.legend(fontsize=8)


def surface(p):
    """A function of two variables: (..., 2) -> (...)."""
    x, y = p[..., 0], p[..., 1]
    return x ** 2 / 4 + y ** 2 + tg.sin(x * y) / 2


def partial_derivatives(ax):
    """Partial derivatives make the gradient: the way up"""
    p, h = tg.Tensor([1.0, 0.5], dtype=tg.float64), 1e-5
    gradient = tg.grad(surface)(p).numpy()
    along = np.eye(2) * h
    numeric = [((surface(p + tg.Tensor(step)) - surface(p - tg.Tensor(step))) / (2 * h)).item()
               for step in along]
    assert_allclose(gradient, numeric, atol=1e-9)
    # Of all directions the gradient's is the steepest, and its slope is the gradient's length.
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)              # (360, 2)
    slopes = (surface(p + tg.Tensor(h * ways)) - surface(p)).numpy() / h
    assert_allclose(slopes, ways @ gradient, atol=1e-4)
    assert_allclose(slopes.max(), np.linalg.norm(gradient), rtol=1e-3)
    hessian = tg.hessian(surface)(p).numpy()
    assert_allclose(hessian, hessian.T, atol=1e-14)                        # mixed ones are equal
    print(f"partial       gradient {gradient.round(4).tolist()}, differences agree to "
          f"{np.abs(gradient - numeric).max():.0e}")
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 41), np.linspace(-1.5, 1.5, 41)), axis=-1)
    ax.contour(grid[..., 0], grid[..., 1], surface(tg.Tensor(grid)).numpy(), 12, linewidths=0.7)
    every = grid[::8, ::8].reshape(-1, 2)
    ways = tg.vjp(surface, tg.Tensor(every))[1](tg.ones(len(every), dtype=tg.float64))
    ways = (ways[0] if isinstance(ways, tuple) else ways).numpy()
    ax.quiver(*every.T, *ways.T, width=0.005)
    ax.set(aspect="equal")


def double_integral(ax):
    """A double integral is a number: a volume, in either order"""
    bell = lambda x, y: tg.exp(-(x ** 2 + y ** 2))
    counts, errors = np.arange(4, 42, 2), []
    for n in counts:
        nodes, weights = (tg.Tensor(6 * v) for v in np.polynomial.legendre.leggauss(n))
        values = bell(nodes[:, None], nodes)                               # (x, y)
        over_y, over_x = values @ weights, weights @ values
        assert_allclose((weights @ over_y).item(), (over_x @ weights).item(), rtol=1e-13)
        errors.append(abs((weights @ over_y).item() - math.pi))
    assert errors[-1] < 1e-12
    ax.set_title("A double integral is a number:\na volume, in either order", fontsize=9)
    print(f"double        exp(-x^2 - y^2) over the plane is pi: error {errors[-1]:.0e} with "
          f"{counts[-1]} x {counts[-1]} points")
    ax.semilogy(counts, np.maximum(errors, 1e-16), "o-", markersize=3)
    ax.set(xlabel="points along each axis", ylabel="error of the volume")


STATEMENTS = [derivative, differential, integral, fundamental_theorem, partial_derivatives,
              double_integral]


def main() -> dict[str, float]:
    """Check and draw every statement; returns how many held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="as for all examples; this one is")
    parser.add_argument("--out", default="runs/mathematics", help="folder for the picture")
    args = parser.parse_args()
    path = save_panels(STATEMENTS, Path(args.out) / "mathematics-calculus.png")
    print(f"{len(STATEMENTS)} statements hold; they are drawn in {path}")
    return {"statements": len(STATEMENTS)}


if __name__ == "__main__":
    main()
