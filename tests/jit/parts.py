"""What tests of recorded programs share: a training step, and a program in short."""

__all__ = ["names", "square_step"]


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
