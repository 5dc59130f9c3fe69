"""The arguments of every layer and function of torch.nn, in PyTorch's order and with its defaults.

A call that is written for PyTorch, by position or by name, must mean the same here. Each test
gathers all differences and compares them with a table that says why they are there.
"""

import ast
import inspect
import math
import re

import pytest

torch = pytest.importorskip("torch")
if torch.__version__.split("+")[0] != "2.13.0":
    pytest.skip("signatures are compared with those of torch 2.13.0", allow_module_level=True)

from tinygen import nn  # noqa: E402

F, TF = nn.functional, torch.nn.functional
REQUIRED = inspect.Parameter.empty

# Options of ours that PyTorch does not have; they come last and have defaults.
OURS = {"generator", "cache", "lengths"}

# Functions that are not offered: PyTorch's own tools, and products for its GPU kernels.
NO_FUNCTION = {"Optional", "assert_int_or_pair", "boolean_dispatch", "handle_torch_function",
               "has_torch_function", "has_torch_function_unary", "has_torch_function_variadic",
               "grouped_mm", "scaled_grouped_mm", "scaled_mm"}
# PyTorch writes these without a signature that can be read.
UNREADABLE = {"conv_tbc"}
# name -> (what differs, why)
FUNCTIONS_DIFFER = {"multi_head_attention_forward": "batch_first comes last: one function for both"}
CONSTRUCTORS_DIFFER = {name: "an empty collection is written as () here" for name in (
    "ModuleDict", "ModuleList", "ParameterList")}
FORWARDS_DIFFER: dict[str, str] = {}
INIT_DIFFERS: dict[str, str] = {}
UTILS_DIFFER = {**{name: "no foreach: PyTorch's choice between ways to the same result" for name in
                   ("clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
                    "get_total_norm")},
                "PackedSequence": "batch_sizes are needed: PyTorch's None only sorts tensors out"}

# PyTorch's recurrent layers take *args; their documentation gives the order.
RECURRENT = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
             "bidirectional"]


def parameters(callable_):
    """(name, default) in order, without self; None where it takes *args or says nothing."""
    try:
        found = list(inspect.signature(callable_).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found):
        return None
    return [(p.name, p.default) for p in found if p.name != "self"]


def theirs_of(name):
    """The signature of one of PyTorch's functions, from its documentation if it is built in."""
    function = getattr(TF, name)
    pooled = getattr(TF, f"{name}_with_indices", None)   # behind return_indices
    if pooled is not None:
        return parameters(pooled)
    found = parameters(function)
    text = re.search(rf"{name}\((.*?)\)\s*->", function.__doc__ or "", re.DOTALL)
    if found is not None or text is None:
        return found
    given = ast.parse(f"def f({text[1]}): pass").body[0].args
    values = [eval(compile(ast.Expression(d), "", "eval"), {}) for d in given.defaults]
    defaults = [REQUIRED] * (len(given.args) - len(values)) + values
    return [(a.arg, d) for a, d in zip(given.args, defaults, strict=True)]


def equal(a, b):
    if callable(a) and callable(b):
        return a is b or a.__name__ == b.__name__
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b)
    return type(a) in (type(b), int) and a == b


def difference(ours, theirs):
    """What a call written for PyTorch would find different, in words, or None."""
    if theirs is None:
        return None
    if ours is None:
        return "takes anything"
    extra = ours[len(theirs):]
    if [name for name, _ in ours[:len(theirs)]] != [name for name, _ in theirs]:
        return f"names {[n for n, _ in ours]} for {[n for n, _ in theirs]}"
    if any(name not in OURS or default is REQUIRED for name, default in extra):
        return f"more arguments: {extra}"
    wrong = [(name, a, b) for (name, a), (_, b) in zip(ours, theirs, strict=False)
             if not equal(a, b)]
    return f"defaults (name, ours, theirs): {wrong}" if wrong else None


def differences(names, ours, theirs):
    found = {name: difference(parameters(ours(name)), theirs(name)) for name in names}
    return {name: text for name, text in found.items() if text}


LAYERS = [name for name in dir(torch.nn) if inspect.isclass(getattr(torch.nn, name))
          and issubclass(getattr(torch.nn, name), torch.nn.Module) and hasattr(nn, name)]


def test_functions():
    names = [name for name in dir(TF) if not name.startswith("_") and callable(getattr(TF, name))
             and not inspect.isclass(getattr(TF, name))]
    assert {name for name in names if not hasattr(F, name)} == NO_FUNCTION
    shared = [name for name in names if name not in NO_FUNCTION]
    assert {name for name in shared if theirs_of(name) is None} == UNREADABLE
    found = differences(shared, lambda name: getattr(F, name), theirs_of)
    assert found.keys() == FUNCTIONS_DIFFER.keys(), found


def test_constructors():
    found = differences(LAYERS, lambda name: getattr(nn, name),
                        lambda name: parameters(getattr(torch.nn, name)))
    assert found.keys() == CONSTRUCTORS_DIFFER.keys(), found


def test_forwards():
    """Layers are called with PyTorch's names too: `attention(query=..., key=..., value=...)`."""
    containers = {"Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList",
                  "RNNBase", "RNNCellBase"}            # PyTorch's have no forward of their own
    found = differences([name for name in LAYERS if name not in containers],
                        lambda name: getattr(nn, name).forward,
                        lambda name: parameters(getattr(torch.nn, name).forward))
    assert found.keys() == FORWARDS_DIFFER.keys(), found


@pytest.mark.parametrize("layer, more", [("RNN", []), ("LSTM", ["proj_size"]), ("GRU", [])])
def test_recurrent_layers(layer, more):
    order = RECURRENT + more + ["device", "dtype", "generator"]
    if layer == "RNN":
        order.insert(3, "nonlinearity")
    assert [name for name, _ in parameters(getattr(nn, layer))] == order


@pytest.mark.parametrize("ours, theirs, expected", [
    (nn.init, torch.nn.init, INIT_DIFFERS), (nn.utils, torch.nn.utils, UTILS_DIFFER),
    (nn.utils.rnn, torch.nn.utils.rnn, UTILS_DIFFER),
    (nn.utils.parametrize, torch.nn.utils.parametrize, {}),
    (nn.utils.parametrizations, torch.nn.utils.parametrizations, {}),
], ids=["init", "utils", "rnn", "parametrize", "parametrizations"])
def test_tools(ours, theirs, expected):
    names = [name for name in dir(ours) if not name.startswith("_") and hasattr(theirs, name)
             and getattr(getattr(theirs, name), "__module__", None) == (
                 theirs.__name__ if theirs is not torch.nn.utils else getattr(
                     getattr(theirs, name), "__module__", None))
             and callable(getattr(theirs, name))]
    assert names
    found = differences(names, lambda name: getattr(ours, name),
                        lambda name: parameters(getattr(theirs, name)))
    assert found.keys() == {name for name in expected if name in names}, found
