"""A neuron, then a network: every gradient by hand, beside tinygen's, and the same learning.

    python examples/neuron.py                     # under runs/neuron/
    python examples/neuron.py --quick             # a tenth of the steps
    python examples/neuron.py --out docs/results

By hand means NumPy and the chain rule; tinygen finds the same numbers by itself. The picture shows
what was learnt, and the usual activations and losses. examples/classify_mnist.py goes on from here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose

import tinygen as tg
from tinygen import nn, optim
from tinygen.nn import functional as F
from tinygen.viz import save_panels

RATE = 0.5


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(z, y):
    """-y log p - (1 - y) log(1 - p) for p = sigmoid(z), as max(z, 0) - z y + log(1 + e^-|z|).

    Written in z nothing overflows, where p rounds to 0 or 1 and its logarithm to infinity.
    """
    return np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))


def clouds(n, rng):
    """Two clouds of points (n, 2) that a line can part, with labels 0 and 1 (n,)."""
    y = np.arange(n) % 2
    return rng.normal(size=(n, 2)) + np.where(y[:, None], [1.5, 1.0], [-1.5, -1.0]), y * 1.0


def moons(n, rng):
    """Two half circles that hook into each other: points (n, 2), labels (n,)."""
    y, turn = np.arange(n) % 2, rng.uniform(0, np.pi, n)
    x = np.where(y, 1 - np.cos(turn), np.cos(turn)), np.where(y, 0.5 - np.sin(turn), np.sin(turn))
    return np.stack(x, axis=1) + rng.normal(0, 0.1, (n, 2)), y * 1.0


# -- one neuron: p = sigmoid(x . w + b) -----------------------------------------------------------


def neuron_gradient(x, y, w, b):
    """The loss, and dL/dw = mean(dL/dz x), dL/db = mean(dL/dz) with dL/dz = p - y."""
    z = x @ w + b                                                             # (n,)
    dz = (sigmoid(z) - y) / len(y)                                            # (n,)
    return cross_entropy(z, y), x.T @ dz, dz.sum()                            # (), (2,), ()


def neuron_by_hand(x, y, steps, sign=-1):
    """Steps against the gradient (`sign=-1`); the losses on the way, w and b."""
    w, b, losses = np.zeros(2), 0.0, []
    for _ in range(steps):
        loss, dw, db = neuron_gradient(x, y, w, b)
        w, b = w + sign * RATE * dw, b + sign * RATE * db
        losses.append(loss)
    return losses, w, b


def neuron_by_tinygen(x, y, steps):
    """The same, with the gradient found by tinygen."""
    w = tg.zeros(2, dtype=tg.float64, requires_grad=True)
    b = tg.zeros((), dtype=tg.float64, requires_grad=True)
    optimizer, losses = optim.SGD([w, b], lr=RATE), []
    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(tg.Tensor(x) @ w + b, tg.Tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, w.detach().numpy(), b.item()


# -- a network: z = tanh(x W1^T + b1) W2^T + b2 ---------------------------------------------------


def network_by_hand(x, y, parameters, steps):
    """Gradient descent through two layers; the losses and the last parameters."""
    w1, b1, w2, b2 = (p.copy() for p in parameters)          # (H, 2), (H,), (1, H), (1,)
    losses = []
    for _ in range(steps):
        h = np.tanh(x @ w1.T + b1)                           # forward: (n, H)
        z = (h @ w2.T + b2)[:, 0]                            # (n,)
        losses.append(cross_entropy(z, y))
        dz = ((sigmoid(z) - y) / len(y))[:, None]            # backward: (n, 1)
        dw2, db2 = dz.T @ h, dz.sum(0)                       # (1, H), (1,)
        dh = (dz @ w2) * (1 - h ** 2)                        # (n, H), for tanh' = 1 - tanh^2
        dw1, db1 = dh.T @ x, dh.sum(0)                       # (H, 2), (H,)
        w1, b1, w2, b2 = (p - RATE * d for p, d in
                          ((w1, dw1), (b1, db1), (w2, dw2), (b2, db2)))
    return losses, (w1, b1, w2, b2)


def network_by_tinygen(x, y, model, steps):
    """The same model as nn.Sequential: forward is written, backward is not."""
    optimizer, losses = optim.SGD(model.parameters(), lr=RATE), []
    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(model(tg.Tensor(x))[:, 0], tg.Tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# -- pictures -------------------------------------------------------------------------------------


def draw_decision(ax, x, y, score, title):
    """The points, and how sure the model is everywhere."""
    low, high = x.min(0) - 0.5, x.max(0) + 0.5
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 80).T), axis=-1)      # (80, 80, 2)
    p = sigmoid(score(grid.reshape(-1, 2))).reshape(80, 80)
    ax.contourf(grid[..., 0], grid[..., 1], p, np.linspace(0, 1, 11), cmap="coolwarm", alpha=0.6)
    ax.contour(grid[..., 0], grid[..., 1], p, [0.5], colors="k")
    ax.scatter(*x.T, c=y, cmap="coolwarm", s=6)
    ax.set_title(title, fontsize=9)


def activations(ax):
    """Activations"""
    z = tg.linspace(-4, 4, 401, dtype=tg.float64)
    for name in ("sigmoid", "tanh", "relu", "leaky_relu", "gelu"):
        ax.plot(z.numpy(), getattr(F, name)(z).numpy(), label=name)
    ax.set(ylim=(-1.2, 3), xlabel="z")
    ax.legend(fontsize=7)


def derivatives(ax):
    """Their derivatives, by tinygen"""
    z = tg.linspace(-4, 4, 401, dtype=tg.float64)
    slopes = {f.__name__: tg.grad(lambda z, f=f: f(z).sum())(z).numpy()
              for f in (F.sigmoid, F.tanh, F.relu, F.leaky_relu, F.gelu)}
    for name, slope in slopes.items():
        ax.plot(z.numpy(), slope, label=name)
    s, t = sigmoid(z.numpy()), np.tanh(z.numpy())
    for name, by_hand in (("sigmoid", s * (1 - s)), ("tanh", 1 - t ** 2), ("relu", z.numpy() > 0)):
        assert_allclose(slopes[name], by_hand, atol=1e-12)
    ax.set(xlabel="z")
    ax.legend(fontsize=7)


def losses_of_a_yes(ax):
    """Losses where the answer is 1, of z with p = sigmoid(z)"""
    z, one = tg.linspace(-6, 6, 241, dtype=tg.float64), tg.ones(241, dtype=tg.float64)
    p = tg.sigmoid(z)
    entropy = F.binary_cross_entropy_with_logits(z, one, reduction="none")
    assert_allclose(entropy.numpy(), -np.log(p.numpy()), rtol=1e-9)
    huge = F.binary_cross_entropy_with_logits(tg.Tensor([-1000.0]), tg.ones(1))
    assert huge.item() == 1000                                   # -log sigmoid(-1000): no overflow
    ax.plot(z.numpy(), entropy.numpy(), label="cross-entropy")
    ax.plot(z.numpy(), ((p - 1) ** 2 / 2).numpy(), label="(p - 1)^2 / 2: flat where wrong")
    ax.plot(z.numpy(), np.maximum(1 - z.numpy(), 0), label="hinge")
    ax.set(xlabel="z", ylim=(-0.2, 6))
    ax.legend(fontsize=7)


def sign_of_the_log_loss(ax):
    """Losses where the answer is 0: with + log(1 - p) a wrong p is rewarded without end"""
    p = np.linspace(0.001, 0.999, 400)
    ax.plot(p, -np.log(1 - p), label="- log(1 - p)")
    ax.plot(p, np.log(1 - p), "C3--", label="+ log(1 - p)")
    ax.set(xlabel="p")
    ax.legend(fontsize=7)


def main() -> dict[str, float]:
    """Learn and draw; returns how many unseen points are right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/neuron", help="folder for the picture")
    args = parser.parse_args()
    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)

    x, y = clouds(200, rng)
    by_hand, w, b = neuron_by_hand(x, y, 100)
    by_tinygen, w_too, b_too = neuron_by_tinygen(x, y, 100)
    assert_allclose(by_tinygen, by_hand, rtol=1e-12)
    assert_allclose([*w_too, b_too], [*w, b], rtol=1e-10)
    upwards, _, _ = neuron_by_hand(x, y, 100, sign=+1)
    right = np.mean((x @ w + b > 0) == y)
    print(f"neuron: loss {by_hand[0]:.4f} -> {by_hand[-1]:.4f}, {right:.1%} right; with + in place "
          f"of - the loss would go to {upwards[-1]:.2f}")

    points, labels = moons(400, rng)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    start = [p.detach().numpy() for p in model.parameters()]
    steps = 400 if args.quick else 4000
    hand, (w1, b1, w2, b2) = network_by_hand(points, labels, start, steps)
    engine = network_by_tinygen(points, labels, model, steps)
    assert_allclose(engine, hand, rtol=1e-7)
    score = lambda p: (np.tanh(p @ w1.T + b1) @ w2.T + b2)[:, 0]
    unseen, truth = moons(1000, rng)
    accuracy = float(np.mean((score(unseen) > 0) == truth))
    line, lw, lb = neuron_by_hand(points, labels, steps)
    straight = np.mean((unseen @ lw + lb > 0) == truth)
    print(f"network: loss {hand[0]:.4f} -> {hand[-1]:.4f}; by tinygen the same to "
          f"{np.abs(np.divide(engine, hand) - 1).max():.0e}; {accuracy:.1%} of unseen points right "
          f"(a single neuron: {straight:.1%}, loss {line[-1]:.4f})")

    def falling(ax):
        """A neuron's loss: steps go against the gradient"""
        ax.plot(by_hand, label="w - rate dL/dw, by hand")
        ax.plot(by_tinygen, "k:", label="by tinygen")
        ax.plot(upwards[:8], "C3", label="w + rate dL/dw")
        ax.set(xlabel="steps", ylim=(0, 2))
        ax.legend(fontsize=7)

    def falling_network(ax):
        """A network's loss, by hand and by tinygen"""
        ax.loglog(hand, label="network by hand")
        ax.loglog(engine, "k:", label="network by tinygen")
        ax.loglog(line, "C1", label="one neuron")
        ax.set(xlabel="steps")
        ax.legend(fontsize=7)

    path = save_panels([
        lambda ax: draw_decision(ax, x, y, lambda p: p @ w + b, "One neuron parts by a line"),
        falling,
        lambda ax: draw_decision(ax, points, labels, score, "16 hidden neurons part two moons"),
        falling_network, activations, derivatives, losses_of_a_yes, sign_of_the_log_loss,
    ], Path(args.out) / "neuron.png", columns=4, size=(3.0, 2.7), dpi=80)
    print(f"drawn in {path}")
    return {"network": accuracy, "neuron": float(straight)}


if __name__ == "__main__":
    main()
