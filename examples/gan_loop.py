"""A GAN for colour pictures with its training loop written out: data, two networks, two steps.

    python examples/gan_loop.py --quick      # tinted digits, 16x16: under 20 seconds
    python examples/gan_loop.py              # faces, 64x64, minutes (CelebA: research only)

Noise goes into the generator G, pictures come out; the discriminator D gives one number for each
picture, high for real ones. Each batch, D learns to tell real from made, then G learns to be taken
for real by a D that is held still. Pictures are always G(z), never what D says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import data, nn, optim
from tinygen.nn.functional import binary_cross_entropy_with_logits as bce
from tinygen.viz import save_grid

LATENT = 100


def pictures(quick):
    """A data set of colour pictures (3, S, S) in [0, 1], augmented as it is read."""
    augment = [data.RandomShift(width=0.1, height=0.1)]
    if not quick:                  # faces may be mirrored, digits may not
        return data.CelebA(train=True, transform=data.Compose([
            data.RandomHorizontalFlip(), *augment]))
    digits = data.load("digits", size=16)
    tint = np.random.default_rng(0).uniform(0.4, 1, (len(digits), 3, 1, 1))
    tinted = (digits.images * tint).astype(np.uint8)                          # (N, 3, 16, 16)
    return data.ImageDataset(tinted, transform=data.Compose(augment))


def networks(side, width):
    """G: (N, 100) -> (N, 3, side, side) in [-1, 1]; D: the same pictures -> (N, 1) logits."""
    steps = side.bit_length() - 3                        # doublings from 4x4: 16 -> 2, 64 -> 4
    sizes = [width * 2 ** i for i in range(steps)]       # channels, from the picture inwards
    up = [nn.Linear(LATENT, sizes[-1] * 16),             # as many numbers as the next line needs
          nn.Reshape(sizes[-1], 4, 4), nn.BatchNorm2d(sizes[-1]), nn.ReLU()]
    down = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]                 # half the side
    for few, many in zip(sizes[::-1][1:], sizes[::-1]):
        up += [nn.ConvTranspose2d(many, few, 4, 2, 1), nn.BatchNorm2d(few), nn.ReLU()]
    for few, many in zip(sizes, sizes[1:]):
        down += [nn.Conv2d(few, many, 4, 2, 1), nn.BatchNorm2d(many), nn.LeakyReLU(0.2)]
    up += [nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh()]
    down += [nn.Flatten(), nn.Linear(sizes[-1] * 16, 1)]
    return nn.Sequential(*up).apply(small), nn.Sequential(*down).apply(small)


def small(layer):
    """The start that keeps G and D in balance: weights from N(0, 0.02) (Radford et al. 2016)."""
    if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        nn.init.zeros_(layer.bias)


def discriminator_step(g, d, optimizer, real):
    """-log D(x) - log(1 - D(G(z))): real pictures towards 1, made ones towards 0."""
    with tg.no_grad():                                                    # G is not learning here
        made = g(tg.randn(len(real), LATENT))
    on_real, on_made = d(real), d(made)                                   # (N, 1) each
    loss = bce(on_real, tg.ones(on_real.shape)) + bce(on_made, tg.zeros(on_made.shape))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def generator_step(g, d, optimizer, n):
    """-log D(G(z)): G is moved so that D takes its pictures for real."""
    d.requires_grad_(False)                     # D is held still; gradients pass through it
    score = d(g(tg.randn(n, LATENT)))
    loss = bce(score, tg.ones(score.shape))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    d.requires_grad_(True)
    return loss.item()


def generate(g, z):
    """Pictures in [0, 1] from noise, with the running statistics of batch norm."""
    g.eval()
    with tg.no_grad():
        made = (g(z).numpy() + 1) / 2
    g.train()
    return made


def distance(made, real):
    """Between the mean pictures of two sets, and between their standard deviations."""
    return float(np.abs(made.mean(0) - real.mean(0)).mean()
                 + np.abs(made.std(0) - real.std(0)).mean())


def main() -> dict[str, float]:
    """Train; returns the distance between made and real pictures before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small digits, under 20 seconds")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=int, default=16, help="channels of the largest maps")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/gan_loop", help="folder for the pictures")
    args = parser.parse_args()
    tg.manual_seed(args.seed)

    dataset = pictures(args.quick)
    loader = data.DataLoader(dataset, args.batch_size, shuffle=True, drop_last=True, seed=args.seed)
    side = dataset.image_shape[-1]
    g, d = networks(side, args.width)
    lr = 1e-3 if args.quick else 2e-4
    g_optimizer = optim.Adam(g.parameters(), lr=lr, betas=(0.5, 0.999))
    d_optimizer = optim.Adam(d.parameters(), lr=lr / 2, betas=(0.5, 0.999))
    print(g.summary((args.batch_size, LATENT)))

    z = tg.randn(400, LATENT)                      # the same noise all along: progress is visible
    sample = np.concatenate(list(loader))[:400]
    distances = [distance(generate(g, z), sample)]
    for epoch in range(1, (args.epochs or (8 if args.quick else 5)) + 1):
        losses = []
        for images in loader:                                               # (N, 3, S, S)
            real = tg.Tensor(images * 2 - 1)                                # G's range, [-1, 1]
            losses.append([discriminator_step(g, d, d_optimizer, real),
                           generator_step(g, d, g_optimizer, len(real))])
        made = generate(g, z)
        distances.append(distance(made, sample))
        save_grid(made[:64], Path(args.out) / f"epoch_{epoch:03d}.png")
        d_loss, g_loss = np.mean(losses, axis=0)
        print(f"epoch {epoch}: D {d_loss:.3f}, G {g_loss:.3f}, distance {distances[-1]:.4f} "
              f"({distances[0]:.4f} untrained)")
    return {"before": distances[0], "after": distances[-1]}


if __name__ == "__main__":
    main()
