"""HIPS/autograd's interface on top of tinygen: values, traces, vector-Jacobian products.

Outside of any derivative a function of `autograd.numpy` is NumPy's own: finite differences are
taken of NumPy's functions, derivatives come from tinygen. Inside, leaves are float64 Tensors.
Complex numbers are outside of tinygen: they raise `Complex`, and a test that needs them fails.
"""

import contextlib
from functools import wraps

import numpy as onp

import tinygen as tg
from tinygen.autograd import grad_of

__all__ = ["Complex", "Space", "detraced", "make_jvp", "make_vjp", "traced", "unary_to_nary",
           "vspace"]


primitive_vjps: dict = {}     # autograd's own table of rules: tinygen has its own, elsewhere


class Complex(TypeError):
    """A complex number reached tinygen."""


_depth = 0


@contextlib.contextmanager
def deeper():
    """While a function is traced."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


# -- nested values -------------------------------------------------------------------------------


def is_leaf(value):
    return not isinstance(value, (tuple, list, dict))


def leaves(value):
    """All numbers and arrays in a nested value, in order."""
    if is_leaf(value):
        return [value]
    items = [value[k] for k in value] if isinstance(value, dict) else value
    return [x for item in items for x in leaves(item)]


def rebuild(value, items):
    """The same nesting with other leaves, taken from an iterator."""
    if is_leaf(value):
        return next(items)
    if isinstance(value, dict):
        return {k: rebuild(v, items) for k, v in value.items()}
    return type(value)([rebuild(v, items) for v in value])


def each(f, value):
    return rebuild(value, iter([f(x) for x in leaves(value)]))


def traced(value):
    if isinstance(value, (tuple, list)):
        return any(traced(v) for v in value)
    if isinstance(value, dict):
        return any(traced(v) for v in value.values())
    return isinstance(value, tg.Tensor)


def plain(x):
    """A leaf as NumPy's: 0-d tensors become numbers."""
    return x.detach().numpy()[()] if isinstance(x, tg.Tensor) else x


def detraced(value):
    """Outside of all traces results are NumPy's."""
    return value if _depth else each(plain, value)


def as_tensor(x):
    if isinstance(x, tg.Tensor):
        return x
    array = onp.asarray(x)
    if array.dtype.kind == "c":
        raise Complex("complex numbers are outside of tinygen")
    narrow = array.dtype in (onp.float16, onp.float32)
    return tg.Tensor(array if narrow else array.astype(onp.float64))


def boxed(x):
    """A new variable: connected to what x came from, if it came from a trace."""
    t = as_tensor(x)
    return t * 1 if t.requires_grad else tg.Tensor.wrap(t.data.copy()).requires_grad_()


# -- the space that a value lives in -------------------------------------------------------------


class Space:
    """Shapes of all leaves, with what check_grads needs of a vector space."""

    def __init__(self, value):
        self.value = value
        self.shapes = [onp.shape(plain(x)) for x in leaves(value)]
        if any(onp.iscomplexobj(plain(x)) for x in leaves(value)):
            raise Complex("complex numbers are outside of tinygen")

    @property
    def size(self):
        return sum(int(onp.prod(s)) for s in self.shapes)

    def fill(self, make):
        return rebuild(self.value, iter([make(s) for s in self.shapes]))

    def randn(self):
        return self.fill(lambda s: onp.random.randn(*s) if s else float(onp.random.randn()))

    def ones(self):
        return self.fill(lambda s: onp.ones(s) if s else 1.0)

    def zeros(self):
        return self.fill(lambda s: onp.zeros(s) if s else 0.0)

    def standard_basis(self):
        flat = onp.eye(self.size)
        for row in flat:
            parts = onp.split(row, onp.cumsum([int(onp.prod(s)) for s in self.shapes])[:-1])
            yield rebuild(self.value, iter([p.reshape(s)[()]
                                            for p, s in zip(parts, self.shapes)]))

    def __eq__(self, other):
        return self.shapes == other.shapes


vspace = Space


def combine(f, a, b):
    """A binary function of the leaves of two values with one nesting."""
    return rebuild(a, iter([f(x, y) for x, y in zip(leaves(a), leaves(b), strict=True)]))


def inner(a, b):
    return sum(float(onp.sum(plain(x) * plain(y)))
               for x, y in zip(leaves(a), leaves(b), strict=True))


# -- derivatives ---------------------------------------------------------------------------------


def pull(outputs, inputs, seeds):
    """Gradients of tensors, differentiable again; zeros where nothing depends."""
    chosen = [(y, s) for y, s in zip(outputs, seeds) if isinstance(y, tg.Tensor)
              and y.requires_grad]
    if not chosen:
        return [tg.zeros_like(x) for x in inputs]
    found = grad_of([y for y, _ in chosen], inputs, [as_tensor(s) for _, s in chosen],
                    create_graph=True, retain_graph=True, allow_unused=True)
    return [tg.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]


def make_vjp(f, x):
    """(vjp, f(x)): vjp(g) is the gradient of <f(x), g>."""
    with deeper():
        variables = [boxed(v) for v in leaves(x)]
        y = f(rebuild(x, iter(variables)))
    outputs = leaves(y)
    for v in outputs:
        if not isinstance(v, (tg.Tensor, onp.ndarray, onp.number, int, float)) or isinstance(
                v, (bool, onp.bool_)):
            raise TypeError(f"can't differentiate with respect to {type(v).__name__}")

    def vjp(g):
        with deeper():
            found = pull(outputs, variables, leaves(g))
        return detraced(rebuild(x, iter(found)))
    return vjp, detraced(y)


def make_jvp(f, x):
    """jvp(v) = (f(x), the derivative of f at x along v), by transposing the vjp."""
    def jvp(v):
        with deeper():
            variables = [boxed(a) for a in leaves(x)]
            y = f(rebuild(x, iter(variables)))
            outputs = [as_tensor(a) for a in leaves(y)]
            dummies = [tg.zeros_like(a).requires_grad_() for a in outputs]
            back = pull(outputs, variables, dummies)
            along = pull(back, dummies, leaves(v))
        return detraced(y), detraced(rebuild(y, iter(along)))
    return jvp


def unary_to_nary(operator):
    """An operator on functions of one argument, for one or several arguments by number."""
    @wraps(operator)
    def nary(fun, argnum=0, *options, **named):
        @wraps(fun if hasattr(fun, "__name__") else operator)
        def run(*args, **kwargs):
            def unary(x):
                given = list(args)
                if isinstance(argnum, int):
                    given[argnum] = x
                else:
                    for i, v in zip(argnum, x):
                        given[i] = v
                return fun(*given, **kwargs)
            x = args[argnum] if isinstance(argnum, int) else tuple(args[i] for i in argnum)
            return operator(unary, x, *options, **named)
        return run
    return nary
