"""Linear algebra behind deep learning: each statement is checked with numbers, and drawn.

    python examples/mathematics_algebra.py                 # under runs/mathematics/
    python examples/mathematics_algebra.py --out docs/results

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


def number(x):
    return tg.Tensor(x, dtype=tg.float64)


def draw(*shape):
    """Normal random numbers in float64, so that rounding stays out of sight."""
    return tg.randn(*shape, dtype=tg.float64)


def arrow(ax, start, step, color, label=None):
    """An arrow from `start` by `step`."""
    ax.annotate("", xy=np.add(start, step), xytext=start, arrowprops={
        "arrowstyle": "->", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0})
    ax.plot([], [], color=color, label=label)


def vectors(ax):
    """a + b is the diagonal of the parallelogram"""
    a, b = number([3, 1]), number([1, 2])
    assert (a + b).tolist() == [4.0, 3.0] and (2 * a - b).tolist() == [5.0, 0.0]
    # Law of cosines: |a + b|^2 = |a|^2 + |b|^2 + 2 |a| |b| cos(angle), and a . b is its last part.
    angle = math.atan2(2, 1) - math.atan2(1, 3)
    lengths = tg.linalg.norm(a).item(), tg.linalg.norm(b).item()
    assert_allclose((a @ b).item(), lengths[0] * lengths[1] * math.cos(angle), rtol=1e-14)
    assert_allclose((tg.linalg.norm(a + b) ** 2).item(), sum(n * n for n in lengths)
                    + 2 * (a @ b).item(), rtol=1e-14)
    degrees = math.degrees(angle)
    print(f"vectors         a . b = {(a @ b).item():g} = |a| |b| cos({degrees:.0f} degrees)")
    arrow(ax, (0, 0), a.numpy(), "C0", "a")
    arrow(ax, (0, 0), b.numpy(), "C1", "b")
    arrow(ax, a.numpy(), b.numpy(), "C1")
    arrow(ax, b.numpy(), a.numpy(), "C0")
    arrow(ax, (0, 0), (a + b).numpy(), "C2", "a + b")
    ax.set(xlim=(-0.2, 4.4), ylim=(-0.2, 3.4), aspect="equal")
    ax.legend(fontsize=8)


def product(ax):
    """A B x = A (B x): a product is one map after another"""
    a, b, x = draw(3, 4), draw(4, 5), draw(5)
    by_hand = [[sum(a[i, k].item() * b[k, j].item() for k in range(4)) for j in range(5)]
               for i in range(3)]                                         # c_ij = sum_k a_ik b_kj
    assert_allclose((a @ b).numpy(), by_hand, atol=1e-14)
    assert_allclose(((a @ b) @ x).numpy(), (a @ (b @ x)).numpy(), atol=1e-14)
    print(f"product         max |A B - sum_k a_ik b_kj| = "
          f"{np.abs((a @ b).numpy() - by_hand).max():.1e}")
    first, turn = number([[2, 1], [0.5, 1.5]]), number([[0.8, -0.6], [0.6, 0.8]])
    square = number([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]])                       # corners (2, 5)
    for points, name in ((square, "x"), (turn @ square, "B x"), (first @ (turn @ square), "A B x")):
        ax.plot(*points.numpy(), label=name)
    # The determinant is the factor by which areas grow, by the shoelace formula.
    xs, ys = (first @ turn @ square).numpy()
    area = 0.5 * np.sum(xs[:-1] * ys[1:] - xs[1:] * ys[:-1])
    assert_allclose(area, tg.linalg.det(first).item() * tg.linalg.det(turn).item(), rtol=1e-12)
    ax.set(aspect="equal")
    ax.legend(fontsize=8)


def product_rule(ax):
    """d(A B)/dx = A' B + A B', against differences"""
    constant = draw(3, 3)
    a = lambda x: tg.sin(x * constant)
    b = lambda x: tg.exp(-x * constant.T)
    x, one = number(0.7), number(1.0)
    (av, da), (bv, db) = tg.jvp(a, (x,), (one,)), tg.jvp(b, (x,), (one,))
    exact = (da @ bv + av @ db).numpy()
    steps = np.logspace(-1, -9, 33)
    errors = [np.abs(((a(x + h) @ b(x + h) - a(x - h) @ b(x - h)) / (2 * h)).numpy() - exact).max()
              for h in steps]
    assert min(errors) < 1e-9
    print(f"product rule    best central difference differs by {min(errors):.1e}")
    ax.loglog(steps, errors, "o-", markersize=3)
    ax.loglog(steps[:14], errors[0] * (steps[:14] / steps[0]) ** 2, "k:", label="h^2")
    ax.set(xlabel="step h", ylabel="error of central differences")
    ax.legend(fontsize=8)


def product_gradient(ax):
    """dL/dA = G B^T and dL/dB = A^T G, against differences"""
    a, b, g = draw(4, 3), draw(3, 5), draw(4, 5)                # L = sum(G * (A B)), so dL/dC = G
    loss = lambda a, b: (g * (a @ b)).sum()
    grad_a, grad_b = tg.grad(loss, argnums=(0, 1))(a, b)
    assert_allclose(grad_a.numpy(), (g @ b.T).numpy(), atol=1e-14)
    assert_allclose(grad_b.numpy(), (a.T @ g).numpy(), atol=1e-14)
    numeric = np.concatenate([differences(lambda v: loss(v, b), a), differences(
        lambda v: loss(a, v), b)])
    exact = np.concatenate([grad_a.numpy().ravel(), grad_b.numpy().ravel()])
    error = np.abs(numeric - exact).max()
    assert error < 1e-8
    print(f"its gradient    {len(exact)} entries, largest difference {error:.1e}")
    ax.plot(exact, numeric, "o", markersize=4)
    ax.axline((0, 0), slope=1, color="k", linewidth=0.8, linestyle=":")
    ax.set(xlabel="G B^T and A^T G", ylabel="(L(+h) - L(-h)) / 2h")


def differences(f, x, h=1e-5):
    """df/dx by central differences, one entry after the other."""
    slopes = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        step = tg.Tensor(step.reshape(x.shape))
        slopes.append((f(x + step) - f(x - step)).item() / (2 * h))
    return np.array(slopes)


def eigenvectors(ax):
    """A v = lambda v: directions that A only stretches"""
    symmetric = number([[2, 1], [1, 1.5]])
    values, vectors = tg.linalg.eigh(symmetric)                               # (2,), columns (2, 2)
    assert_allclose((symmetric @ vectors).numpy(), (vectors * values).numpy(), atol=1e-14)
    assert_allclose((vectors.T @ vectors).numpy(), np.eye(2), atol=1e-14)     # at right angles
    rebuilt = vectors @ tg.diag(values) @ vectors.T                           # diagonalisation
    assert_allclose(rebuilt.numpy(), symmetric.numpy(), atol=1e-14)
    fifth = vectors @ tg.diag(values ** 5) @ vectors.T
    assert_allclose(fifth.numpy(), tg.linalg.matrix_power(symmetric, 5).numpy(), rtol=1e-13)
    print(f"eigenvectors    lambda = {values.numpy().round(4).tolist()}, max |A v - lambda v| = "
          f"{np.abs((symmetric @ vectors - vectors * values).numpy()).max():.1e}")
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = tg.Tensor(np.stack([np.cos(turn), np.sin(turn)]))                # (2, 200)
    ax.plot(*circle.numpy(), color="0.6", label="unit circle")
    ax.plot(*(symmetric @ circle).numpy(), color="C0", label="A x")
    for i in range(2):
        v, name = vectors[:, i], f"{values[i].item():.2f} v{i + 1}"
        arrow(ax, (0, 0), v.numpy(), "k")
        arrow(ax, (0, 0), (symmetric @ v).numpy(), f"C{i + 1}", f"A v{i + 1} = {name}")
    ax.set(aspect="equal", ylim=(-2, 3.4))
    ax.legend(fontsize=7, loc="upper left", ncols=2)


def power_iteration(ax):
    """Power iteration x -> A x / |A x| finds the largest eigenvalue, errors as (l2 / l1)^2k"""
    turned, _ = tg.linalg.qr(draw(6, 6))                               # columns at right angles
    matrix = turned @ tg.diag(number([1, 0.5, 2, 4, -1, 6])) @ turned.T
    values = tg.linalg.eigvalsh(matrix).numpy()
    assert_allclose(values, [-1, 0.5, 1, 2, 4, 6], atol=1e-13)
    x, errors = draw(6), []
    for _ in range(40):
        x = matrix @ x
        x = x / tg.linalg.norm(x)
        errors.append(abs((x @ matrix @ x).item() - values[-1]))      # Rayleigh quotient
    rate = (values[-2] / values[-1]) ** 2
    measured = (errors[20] / errors[10]) ** 0.1
    assert_allclose(measured, rate, rtol=0.02)
    print(f"power iteration the error shrinks by {measured:.4f} a step; (l2/l1)^2 = {rate:.4f}")
    ax.semilogy(errors, "o", markersize=3, label="error of x . A x")
    ax.semilogy(errors[10] * rate ** (np.arange(40) - 10), "k:", label="(l2 / l1)^(2k)")
    ax.set(xlabel="steps k", ylim=(1e-15, 10))
    ax.legend(fontsize=8)


STATEMENTS = [vectors, product, product_rule, product_gradient, eigenvectors, power_iteration]


def main() -> dict[str, float]:
    """Check and draw every statement; returns how many held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="as for all examples; this one is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/mathematics", help="folder for the picture")
    args = parser.parse_args()
    tg.manual_seed(args.seed)
    path = save_panels(STATEMENTS, Path(args.out) / "mathematics-algebra.png")
    print(f"{len(STATEMENTS)} statements hold; they are drawn in {path}")
    return {"statements": len(STATEMENTS)}


if __name__ == "__main__":
    main()
