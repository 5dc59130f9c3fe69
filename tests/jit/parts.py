"""What tests of recorded programs share: a training step, and a program in short."""

import tinygen as tg

__all__ = ["batch", "names", "square_step"]


def batch(i):
    """Two numbers, others for each i."""
    return tg.Tensor([i + 1.0, 2.5 * (-1) ** i])


def names(program):
    """The operations of a program, in order."""
    return [row.op.name for row in program.rows]


def square_step(model, optimizer):
    """A training step whose loss is the mean square of the model's results."""
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()
    return step
