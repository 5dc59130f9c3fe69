"""PyTorch's own samples for its own layers and losses (module_db), run by tinygen too.

Each sample is a set of constructor arguments and inputs. Ours is built with the same arguments,
loads PyTorch's state dict, and must give the same result, the same gradients of every input and
parameter, and the same state afterwards, in training and in evaluation, in float64.
"""

import warnings

import numpy as np
import pytest

from tests.suites.pinned import pinned_torch

torch = pinned_torch("module_db")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db

    from tests.suites.opinfo.harness import compare, tensors, translate

from tinygen import nn  # noqa: E402

# A layer that is not run: why not.
NOT_RUN = {
    **{f"LazyConv{kind}{n}d": "refused by name: sizes are given, not guessed on first use"
       for kind in ("", "Transpose") for n in (1, 2, 3)},
}
# A sample that is not run: (layer, words in its description) -> why not.
SKIPPED = {
    ("TransformerEncoder", ""): "built from a PyTorch layer; tests/nn compare it",
}
# A layer of which some sample differs from PyTorch today; when it no longer does, take it out.
DIFFERS = {
    "KLDivLoss": "the gradient to a negative target is NaN in PyTorch, sometimes a number here",
}
LAYERS = {info.name.removeprefix("nn."): info for info in module_db}


def test_every_layer_is_offered_or_refused_by_name():
    missing = {name for name in LAYERS if not hasattr(nn, name)}
    assert not missing - set(NOT_RUN) - set(DIFFERS)
    for name in NOT_RUN:
        with pytest.raises(AttributeError, match=name):
            getattr(nn, name)


MOST = 24         # samples of one layer, evenly spaced; the transformers have hundreds
FUNCTIONS = {torch.nn.functional.gelu: nn.functional.gelu,
             torch.nn.functional.relu: nn.functional.relu}


def cases(info, training):
    torch.manual_seed(0)
    drawn = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True,
                                    training=training)
    return drawn[::max(1, -(-len(drawn) // MOST))]


def leaf_copies(value):
    """Inputs as leaves of their own, so that samples do not share gradients."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        return type(value)(leaf_copies(v) for v in value)
    if isinstance(value, dict):
        return {k: leaf_copies(v) for k, v in value.items()}
    return value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, training", [
    (name, training) for name, info in LAYERS.items() if name not in NOT_RUN
    for training in ((True, False) if info.train_and_eval_differ else (True,))])
def test_layer(name, training):
    info = LAYERS[name]
    for sample in cases(info, training):
        made, given = sample.constructor_input, sample.forward_input
        if given is None or any(layer == name and words in sample.desc
                                for layer, words in SKIPPED):
            continue
        try:
            check(name, info, training, made, leaf_copies((given.args, given.kwargs)))
        except Exception as error:
            if name in DIFFERS:
                pytest.xfail(DIFFERS[name])
            error.add_note(f"sample: {name}(*{made.args}, **{made.kwargs}) {sample.desc}")
            raise


def check(name, info, training, made, inputs):
    theirs = info.module_cls(*made.args, **made.kwargs).double().train(training)
    args, kwargs = translate((made.args, made.kwargs), [])
    args = tuple(FUNCTIONS.get(a, a) if callable(a) else a for a in args)
    ours = getattr(nn, name)(*args, **kwargs).to("float64").train(training)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    pairs = []
    mine = translate(inputs, pairs)
    torch.manual_seed(1)
    expected, result = theirs(*inputs[0], **inputs[1]), ours(*mine[0], **mine[1])
    yours, found = tensors(expected), tensors(result)
    assert len(found) == len(yours)
    rng = np.random.default_rng(0)
    total, reference = 0, 0
    for i, (a, b) in enumerate(zip(found, yours, strict=True)):
        compare(a, b, f"result {i}")
        if b.requires_grad:
            v = np.asarray(rng.standard_normal(b.shape))
            total, reference = total + (a * v).sum(), reference + (b * torch.tensor(v)).sum()
    if isinstance(reference, torch.Tensor):
        total.backward()
        reference.backward()
    weights = dict(ours.named_parameters())
    assert list(weights) == [key for key, _ in theirs.named_parameters()]
    pairs += [(p, weights[key]) for key, p in theirs.named_parameters()]
    for i, (b, a) in enumerate(pairs):
        if b.grad is not None or a.grad is not None:
            compare(np.zeros(a.shape) if a.grad is None else a.grad,
                    torch.zeros_like(b) if b.grad is None else b.grad, f"gradient {i}")
    for key, value in theirs.state_dict().items():
        compare(ours.state_dict()[key], value, key)
