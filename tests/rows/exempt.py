"""Primitives without a row, and where they are tested instead."""

import tinygen.amp  # noqa: F401  (its primitives are among the exempt)
from tests.drawing import Case

CASES: list[Case] = []

EXEMPT = {
    "pick": "reads one output of the node of another primitive; every row with several outputs "
            "goes through it",
    "random_normal": "its values come from a generator; tests/engine/test_random.py",
    "random_uniform": "its values come from a generator; tests/engine/test_random.py",
    "random_integers": "its values come from a generator; tests/engine/test_random.py",
    "random_key": "its value comes from a generator; tests/nn/test_dropout.py",
    "fused": "has the steps of a group for an argument; tests/jit/test_gather.py",
    "cross_entropy_and_gradient": "only passes of jit make it, of two rows that have derivatives; "
                                  "tests/jit/test_losses.py",
    "random_permutation": "its values come from a generator; tests/engine/test_random.py",
    "unscale": "changes its inputs in place; tests/amp/test_scaler.py",
    "restore_where": "changes its inputs in place; tests/amp/test_scaler.py",
    "update_scale": "changes its inputs in place; tests/amp/test_scaler.py",
    "total_norm": "never differentiated, float64 inside; tests/optim/test_clip.py",
    "scale_to_norm": "changes its inputs in place; tests/optim/test_clip.py",
    "clip_in_place": "changes its inputs in place; tests/optim/test_clip.py",
    "numpy_function": "computes what it is given; tests/jit/test_models.py",
    "exchange_with_pool": "changes its inputs in place; tests/models/test_cycle_gan.py",
}
