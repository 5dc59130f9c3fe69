"""Every model's training step under tg.jit: the same losses and weights, to the last bit."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.models import build

SHAPE = (1, 16, 16)
IMAGES = [("gan", None, {}), ("gan", 4, {}), ("dcgan", None, {"width": 8}),
          ("dcgan", 4, {"width": 8}), ("wgan-gp", None, {"n_critic": 3}), ("vae", None, {}),
          ("vae", 4, {}), ("conv-vae", None, {}), ("vae-gan", None, {}), ("classifier", 4, {})]


def trained(model, batches, jit):
    """The losses of some steps, the state after them, and how many programs there were."""
    optimizers = model.configure_optimizers()
    step = tg.jit(model.training_step) if jit else model.training_step
    losses = [{name: value.item() for name, value in step(*batch, optimizers).items()}
              for batch in batches]
    state = {name: value.data.copy() for name, value in model.state_dict().items()}
    return losses, state, len(step.programs) if jit else 0


def compare(make, batches, programs=1):
    found = []
    for jit in (False, True):
        tg.manual_seed(0)
        found.append(trained(make(), batches, jit))
    (losses, state, _), (again, other, count) = found
    assert again == losses and count == programs
    for name, value in state.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


@pytest.mark.parametrize(("name", "classes", "options"), IMAGES,
                         ids=[f"{n}{c or ''}" for n, c, _ in IMAGES])
def test_models_of_images(name, classes, options):
    rng = np.random.default_rng(0)
    batches = [(tg.Tensor(rng.random((4, *SHAPE), dtype=np.float32)),
                tg.Tensor(rng.integers(0, classes, 4)) if classes else None) for _ in range(7)]
    # With several steps of the critic for one of the generator there are two kinds of steps.
    compare(lambda: build(name, SHAPE, classes, **options), batches,
            2 if "n_critic" in options else 1)


def test_the_language_model():
    rng = np.random.default_rng(0)
    batches = [tuple(tg.Tensor(rng.integers(0, 20, (3, 12))) for _ in range(2)) for _ in range(4)]
    compare(lambda: build("gpt", vocab_size=20, block=12, layers=1, heads=2, width=16), batches)
