"""Random programs from the table of operations: the same with and without jit.

A program is a few calls of primitives, whose inputs are arguments, parameters or results of calls
before; then a loss of some results, its gradients (also of gradients), and updates in place.
"""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tinygen as tg
from tests.cases import CASES
from tests.jit.compare import agree
from tinygen import optim
from tinygen.autograd import grad_of
from tinygen.primitive import PRIMITIVES
from tinygen.tensor import Tensor

# Smooth functions: where fused rows round otherwise, nothing else changes by it
SMOOTH = {"add", "subtract", "multiply", "divide", "exp", "tanh", "sigmoid", "square", "sum",
          "mean", "matmul", "reshape", "permute_dims", "broadcast_to", "negative", "relu", "where",
          "linear", "softmax", "layer_norm", "sin", "cos", "sqrt", "maximum", "minimum"}
QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))


class Program:
    """A drawn program; `run(args, params)` computes it, on tensors."""

    def __init__(self, data, cases):
        self.data, self.steps, self.makers, self.learnt = data, [], [], []
        self.seed = data.draw(st.integers(0, 2**20), label="seed")
        pool = []                                   # (step, output, a tensor of its kind)
        for _ in range(data.draw(st.integers(2, 5), label="calls")):
            case = data.draw(st.sampled_from(cases), label="case")
            pool += self.call(case, case.sample(data.draw), pool)
            for _ in range(data.draw(st.integers(0, 3), label="views")):
                pool += self.view(pool)
        assume(pool)
        floats = [(i, j) for i, j, y in pool if y.dtype.kind == "f" and y.size]
        self.shown = [(i, j) for i, j, _ in pool][-4:]
        self.weighed = floats[-2:]
        self.update = data.draw(st.sampled_from(["none", "assign", "first", "second"]))
        self.rate = data.draw(st.sampled_from([0.1, 0.5]))

    def call(self, case, sample, pool):
        """Add a call, if its inputs fit; gives what it makes."""
        values = sample.values(self.seed + len(self.steps))
        sources, inputs, new = [], [], ([], [])
        for k, value in enumerate(values):
            if value is None:
                sources.append(None)
                inputs.append(None)
                continue
            fresh = single(value)
            fits = [("pool", i, j, y) for i, j, y in pool if y.shape == fresh.shape
                    and y.dtype == fresh.dtype and fresh.dtype.kind == "f"]
            kinds = [("argument",)] + [("parameter",)] * (fresh.dtype.kind == "f") + 3 * fits
            chosen = self.data.draw(st.sampled_from(kinds))
            if chosen[0] == "pool":
                sources.append(chosen[:3])
                inputs.append(chosen[3])
                continue
            target = new[chosen[0] == "parameter"]
            sources.append((chosen[0], len((self.makers, self.learnt)[
                chosen[0] == "parameter"]) + len(target)))
            target.append((sample.makers[k], case.name))
            inputs.append(fresh)
        try:
            with np.errstate(all="ignore"):
                made = PRIMITIVES[case.name](*inputs, **sample.attrs)
        except Exception:          # a value that an earlier call made does not fit
            return []
        self.makers += new[0]
        self.learnt += new[1]
        self.steps.append((PRIMITIVES[case.name], sample.attrs, sources))
        made = made if isinstance(made, tuple) else (made,)
        return [(len(self.steps) - 1, j, y) for j, y in enumerate(made) if y is not None]

    def view(self, pool):
        """Add a view of something, or a matrix times a transposed one; gives what it makes."""
        several = [(i, j, y) for i, j, y in pool if y.ndim > 1]
        if not several:
            return []
        i, j, y = self.data.draw(st.sampled_from(several), label="of")
        kind = self.data.draw(st.sampled_from(["permute_dims", "reshape", "matmul"]))
        others = [(k, m, z) for k, m, z in several if y.ndim == z.ndim == 2 and z.dtype == y.dtype
                  and z.shape[1] == y.shape[1] and y.dtype.kind == "f"]
        if kind == "matmul" and others:
            k, m, z = self.data.draw(st.sampled_from(others), label="with")
            turned = self.add("permute_dims", {"axes": (1, 0)}, (k, m, z))
            return turned + self.add("matmul", {}, (i, j, y), *turned)
        if kind == "permute_dims":
            axes = self.data.draw(st.permutations(range(y.ndim)), label="axes")
            return self.add("permute_dims", {"axes": tuple(axes)}, (i, j, y))
        shape = self.data.draw(st.sampled_from([y.shape, y.shape[::-1], (y.size,),
                                                (y.shape[0], y.size // max(1, y.shape[0]))]))
        return self.add("reshape", {"shape": shape}, (i, j, y))

    def add(self, name, attrs, *read):
        """Add a call on values that were made already."""
        self.steps.append((PRIMITIVES[name], attrs, [("pool", i, j) for i, j, _ in read]))
        return [(len(self.steps) - 1, 0, PRIMITIVES[name](*(y for *_, y in read), **attrs))]

    def arguments(self, seed):
        """New values for every argument."""
        return [single(np.asarray(make(np.random.default_rng(seed + i))))
                for i, (make, _) in enumerate(self.makers)]

    def function(self):
        """The program as a function of its arguments, with parameters of its own."""
        params = [single(np.asarray(make(np.random.default_rng(i)))).requires_grad_()
                  for i, (make, _) in enumerate(self.learnt)]
        optimizer = optim.SGD(params, lr=self.rate, momentum=0.9) if params else None

        def run(*args):
            made = []
            for op, attrs, sources in self.steps:
                inputs = [None if s is None else made[s[1]][s[2]] if s[0] == "pool"
                          else (params if s[0] == "parameter" else args)[s[1]] for s in sources]
                out = op(*inputs, **attrs)
                made.append(out if isinstance(out, tuple) else (out,))
            shown = [made[i][j].detach() for i, j in self.shown]
            weighed = [made[i][j] for i, j in self.weighed if made[i][j].requires_grad]
            if self.update == "assign" and params:
                with tg.no_grad():
                    params[0].assign_(params[0] * 0.5)
                    params[0] += 0.25
            elif self.update in ("first", "second") and weighed:
                loss = sum((y.square().mean() for y in weighed), tg.zeros(()))
                optimizer.zero_grad()
                if self.update == "second":
                    found = grad_of(loss, params, create_graph=True, allow_unused=True)
                    found = [g for g in found if g is not None and g.requires_grad]
                    loss = loss + 0.1 * sum((g.square().sum() for g in found), tg.zeros(()))
                loss.backward()
                optimizer.step()
            return shown
        return run, params

    def compare(self, fuse, check):
        """Three calls on new values, eager and jitted."""
        (plain, params), (run, others) = self.function(), self.function()
        fast = tg.jit(run, fuse=fuse)
        with np.errstate(all="ignore"):
            for seed in range(3):
                args = self.arguments(100 * seed)
                try:
                    expected = plain(*args)
                except (NotImplementedError, np.linalg.LinAlgError):
                    assume(False)              # a derivative or a value that is not to be had
                for y, right in zip(fast(*args), expected, strict=True):
                    check(y.data, right.data, seed + 1)
                for p, right in zip(others, params, strict=True):
                    check(p.data, right.data, seed + 1)
        assert len(fast.programs) == 1


def single(array):
    """A tensor, of float32 where it is a float."""
    return Tensor.wrap(array.astype(np.float32) if array.dtype.kind == "f" else np.array(array))


def same_bits(found, expected, steps):
    np.testing.assert_array_equal(found, expected, strict=True)


@given(st.data())
@settings(QUICK, max_examples=40)
def test_programs_are_the_same_to_the_last_bit(data):
    Program(data, CASES).compare(False, same_bits)


@given(st.data())
@settings(QUICK, max_examples=25)
def test_fused_programs_are_the_same_up_to_rounding(data):
    def close(found, expected, steps):
        assume(np.isfinite(expected).all() and np.abs(expected).max(initial=0) < 1e4)
        agree(found, expected, steps + 3)
    Program(data, [case for case in CASES if case.name in SMOOTH]).compare(True, close)
