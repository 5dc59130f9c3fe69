"""PyTorch's own list of optimizers and their options, `optim_db`, as trajectories of 20 steps.

Each entry of the list gives sets of hyperparameters; PyTorch's tests add `foreach`, `fused` and
`differentiable` to each of them. Here every such set drives PyTorch's optimizer and ours over the
same loss. What cannot be driven stands in `NOT_RUN`, with the reason; a test holds that table and
the list together, so that nothing is left out in silence.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
db = pytest.importorskip("torch.testing._internal.common_optimizers")

import tinygen as tg  # noqa: E402
from tinygen import optim  # noqa: E402

# (optimizer, option): why no set with it is run. "*" is every optimizer, or every option.
NOT_RUN = {
    ("SparseAdam", "*"): "refused by name: tinygen's gradients are dense",
    ("*", "differentiable"): "refused by name: steps change parameters in place",
}
# (optimizer, error input): what PyTorch refuses and tinygen takes, or cannot be given.
NOT_REFUSED = {
    ("*", "a param group cannot have duplicate parameters"): "an error here, a warning there",
    ("*", "does not support complex parameters"): "tinygen has no complex numbers",
    ("*", "lr as Tensor doesn't work with foreach & not capturable"): "foreach changes nothing",
    ("*", r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True"):
        "foreach changes nothing",
    ("SparseAdam", "*"): "refused whatever it is given",
}
INFOS = {info.optim_cls.__name__: info for info in db.optim_db}


def found(table, name, option):
    keys = [(name, option), ("*", option), (name, "*")]
    return next((table[k] for k in keys if k in table), None)


def inputs():
    """Every set of options: those that PyTorch's tests run, and those meant for its GPUs."""
    for name, info in INFOS.items():
        sets = db._get_optim_inputs_including_global_cliquey_kwargs("cpu", torch.float64, info)
        gpu = [i for i in info.optim_inputs_func("cuda") if i.kwargs.get("capturable")]
        for i, given in enumerate([*sets, *gpu]):
            yield pytest.param(name, given, id=f"{name}-{i}-{given.desc}")


def ours(value):
    """An option for tinygen: tensors as tensors of its own."""
    if isinstance(value, torch.Tensor):
        return tg.Tensor(value.numpy())
    return type(value)(map(ours, value)) if isinstance(value, (tuple, list)) else value


def tolerance(name, kwargs):
    if name == "Muon":
        return 2e-3                    # its step is made of bfloat16 numbers
    if name == "LBFGS":
        return 1e-6                    # differences of gradients magnify their last bits
    tensors = [v for value in kwargs.values() for v in (
        value if isinstance(value, tuple) else (value,)) if isinstance(v, torch.Tensor)]
    return 1e-6 if tensors else 1e-10  # a float32 tensor makes PyTorch compute step sizes so


@pytest.mark.parametrize("name, given", list(inputs()))
def test_twenty_steps(name, given):
    kwargs = dict(given.kwargs)
    refused = [k for k, v in kwargs.items() if v is True and found(NOT_RUN, name, k)]
    if refused or found(NOT_RUN, name, ""):
        with pytest.raises(NotImplementedError, match=rf"\[{name}\]"):
            getattr(optim, name)([tg.zeros((2, 3), requires_grad=True)],
                                 **{k: ours(v) for k, v in kwargs.items()})
        return
    rng = np.random.default_rng(0)
    x, w0, b0 = (rng.standard_normal(s) for s in ((7, 5), (4, 5), (1, 4)))
    params = [tg.Tensor(v, requires_grad=True) for v in (w0, b0)]
    peers = [torch.tensor(v, requires_grad=True) for v in (w0, b0)]
    optimizer = getattr(optim, name)(params, **{k: ours(v) for k, v in kwargs.items()})
    # PyTorch takes capturable=True on a GPU only; it says how, not what, a step computes
    peer = INFOS[name].optim_cls(peers, **{k: v for k, v in kwargs.items() if k != "capturable"})
    close = tolerance(name, kwargs)
    for _ in range(3 if name == "LBFGS" else 20):     # a step of LBFGS is up to 20 iterations
        for o, library, (w, b), data in ((optimizer, tg, params, tg.Tensor(x)),
                                         (peer, torch, peers, torch.tensor(x))):
            def closure(o=o, library=library, w=w, b=b, data=data):
                o.zero_grad()
                loss = library.tanh(data @ w.T + b).sum() + (w * w).sum() / 10 + (b * b).sum()
                loss.backward()
                return loss
            o.step(closure)
        for p, q in zip(params, peers, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=close, atol=close)
    kept = {k for k, v in peer.state[peers[0]].items() if v is not None and k != "al"}
    assert set(optimizer.state[params[0]]) == kept


def error_inputs():
    for name, info in INFOS.items():
        for i, e in enumerate(info.optim_error_inputs_func("cpu", torch.float32)):
            yield pytest.param(name, e, id=f"{name}-{i}-{e.optimizer_error_input.desc}")


@pytest.mark.parametrize("name, given", list(error_inputs()))
def test_what_pytorch_refuses(name, given):
    """The same kind of error for the same input; the words are ours."""
    made = given.optimizer_error_input
    if found(NOT_REFUSED, name, made.desc):
        return
    params = [torch.ones(2, 2)] if made.params is None else made.params
    with pytest.raises(given.error_type):
        getattr(optim, name)(translated(params), **{k: ours(v) for k, v in made.kwargs.items()})


def translated(params, known=None):
    """Parameters of PyTorch, however nested, as tensors of ours: the same one for the same one."""
    known = {} if known is None else known
    if isinstance(params, torch.Tensor):
        return known.setdefault(id(params), tg.Tensor(params.detach().numpy(), requires_grad=True))
    if isinstance(params, dict):
        return {k: translated(v, known) if k == "params" else v for k, v in params.items()}
    if isinstance(params, (list, tuple)):
        return type(params)(p if isinstance(p, str) else translated(p, known) for p in params)
    return params


def test_the_tables_name_what_is_there():
    options = {(name, k) for name, info in INFOS.items() for i in
               db._get_optim_inputs_including_global_cliquey_kwargs("cpu", None, info)
               for k in i.kwargs}
    errors = {(name, e.optimizer_error_input.desc) for name, info in INFOS.items()
              for e in info.optim_error_inputs_func("cpu", torch.float32)}
    for table, items in ((NOT_RUN, options), (NOT_REFUSED, errors)):
        for name, option in table:
            assert any(name in ("*", n) and option in ("*", o) for n, o in items), (name, option)
    assert len(INFOS) == 15 and set(INFOS) <= set(optim.__all__)
