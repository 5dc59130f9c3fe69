"""Update rules of optimizers and averages have no row, and where they are tested instead."""

from tests.drawing import Case

CASES: list[Case] = []

ELEMENTWISE = ("sgd_update", "rmsprop_update", "adam_update", "adagrad_update", "adadelta_update",
               "adamax_update", "nadam_update", "radam_update", "rprop_update", "lion_update",
               "asgd_update")

EXEMPT = {name: "changes its inputs in place; tests/optim/test_trajectories.py" for name in (
    *ELEMENTWISE, "adafactor_update", "muon_update")}
EXEMPT |= {f"{name}s": "the same for several parameters; tests/optim/test_updates.py"
           for name in ELEMENTWISE}
EXEMPT |= {name: "changes its inputs in place; tests/optim/test_averaging.py" for name in (
    "mix_update", "mean_update", "ema_update", "count_up")}
EXEMPT["ema_updates"] = "the same for several tensors; tests/gpu/test_updates.py"
EXEMPT["assign"] = "changes its input in place; tests/jit/test_tape.py"
