"""A convolutional classifier on handwritten digits: 99.0% of the MNIST test images are right.

    python examples/classify_mnist.py              # MNIST (TINYGEN_DATA or the download cache)
    python examples/classify_mnist.py --quick      # the bundled 8x8 digits, a few seconds
"""

from __future__ import annotations

import argparse

import tinygen as tg
from tinygen.data import DataLoader, load
from tinygen.models import build
from tinygen.optim.lr_scheduler import CosineAnnealingLR
from tinygen.train import Trainer


def main() -> dict[str, float]:
    """Train, print the accuracy on the test split after each epoch, and return the last one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled digits, a few seconds")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for checkpoints and metrics (default: none)")
    args = parser.parse_args()

    tg.manual_seed(args.seed)
    name = "digits" if args.quick else "mnist"
    train, test = load(name, train=True), load(name, train=False)
    model = build("classifier", image_shape=train.image_shape, num_classes=10)
    print(model.summary((args.batch_size, *train.image_shape)))               # (N, 1, H, W)

    loader = DataLoader(train, args.batch_size, shuffle=True, seed=args.seed)
    epochs = args.epochs or (30 if args.quick else 5)
    optimizers = model.configure_optimizers(lr=2e-3)
    schedule = CosineAnnealingLR(optimizers["model"], T_max=epochs * len(loader))
    trainer = Trainer(model, loader, args.out, epochs=epochs, optimizers=optimizers,
                      schedulers=schedule, schedule_per="step", seed=args.seed, samples=0,
                      eval_loader=DataLoader(test, 500))
    accuracy = 0.0
    for row in trainer.fit():
        if "eval_accuracy" in row:
            accuracy = row["eval_accuracy"]
            print(f"epoch {row['epoch']}: test accuracy {accuracy:.2%}, "
                  f"test loss {row['eval_loss']:.4f}")
    return {"accuracy": accuracy}


if __name__ == "__main__":
    main()
