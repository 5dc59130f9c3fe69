"""check_grads: derivatives of order 1 and 2, both ways, against central differences.

Written anew for tinygen. A combination that holds complex numbers is outside of it: `combo_check`
counts it (tests/suites/test_hips_autograd.py compares the number), `check_grads` raises.
"""

import os
from itertools import product

import numpy as onp

from .core import Complex, combine, inner, leaves, make_jvp, make_vjp, unary_to_nary, vspace

STEP = 1e-6
TOLERANCE = 1e-6


def scalar_close(a, b):
    return abs(a - b) < TOLERANCE or abs(a - b) / abs(a + b) < TOLERANCE


def difference(f, x, v):
    """The derivative of f at x along v by a central difference."""
    ahead = f(combine(lambda a, b: a + b * (STEP / 2), x, v))
    behind = f(combine(lambda a, b: a - b * (STEP / 2), x, v))
    return combine(lambda a, b: (onp.asarray(a, float) - onp.asarray(b, float)) / STEP, ahead,
                   behind)


def check_vjp(f, x):
    vjp, y = make_vjp(f, x)
    u, v = vspace(x).randn(), vspace(y).randn()
    g = vjp(v)
    assert vspace(g) == vspace(x), f"gradient {vspace(g).shapes}, argument {vspace(x).shapes}"
    exact, numeric = inner(u, g), inner(v, difference(f, x, u))
    assert scalar_close(exact, numeric), f"vjp at {x}: {exact}, by differences {numeric}"


def check_jvp(f, x):
    v = vspace(x).randn()
    check_equivalent(make_jvp(f, x)(v)[1], difference(f, x, v))


def check_equivalent(x, y):
    assert vspace(x) == vspace(y), f"shapes {vspace(x).shapes} and {vspace(y).shapes}"
    v = vspace(x).randn()
    assert scalar_close(inner(x, v), inner(y, v)), f"values differ: {x} and {y}"


@unary_to_nary
def check_grads(f, x, modes=("fwd", "rev"), order=2):
    vspace(x)                                  # raises for complex numbers
    for mode in modes:
        if mode not in ("fwd", "rev"):
            raise ValueError(f"unknown mode {mode!r}")
        if mode == "fwd":
            check_jvp(f, x)
        else:
            check_vjp(f, x)
        if order < 2:
            continue
        if mode == "fwd":
            v = vspace(x).randn()
            check_grads(lambda x, v: make_jvp(f, x)(v)[1], (0, 1), modes, order - 1)(x, v)
        else:
            v = vspace(f(x)).randn()
            check_grads(lambda x, v: make_vjp(f, x)[0](v), (0, 1), modes, order - 1)(x, v)


def note(word):
    """One line per combination, for the test that counts them."""
    path = os.environ.get("HIPS_SHIM_COUNTS")
    if path:
        with open(path, "a") as file:
            file.write(word + "\n")


def is_complex(value):
    return any(onp.iscomplexobj(v) for v in leaves(value) if not isinstance(v, str))


def combo_check(fun, *args, **kwargs):
    """check_grads for every combination of the arguments given."""
    def check(*choices, **options):
        named = [[(k, v) for v in values] for k, values in options.items()]
        real = 0
        for chosen in product(*choices):
            for extra in product(*named):
                if any(is_complex(v) for v in chosen):
                    note("complex")
                    continue
                check_grads(fun, *args, **kwargs)(*chosen, **dict(extra))
                note("real")
                real += 1
        if not real:
            raise Complex("every combination is complex")
    return check
