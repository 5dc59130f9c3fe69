"""autograd's differential operators."""

import numpy as onp

import tinygen as tg

from . import core
from .core import as_tensor, deeper, detraced, plain, unary_to_nary, vspace

make_vjp = unary_to_nary(core.make_vjp)
make_jvp = unary_to_nary(core.make_jvp)


@unary_to_nary
def grad(fun, x):
    vjp, y = core.make_vjp(fun, x)
    if vspace(y).size != 1:
        raise TypeError("grad only applies to real scalar-output functions")
    return vjp(vspace(y).ones())


@unary_to_nary
def elementwise_grad(fun, x):
    vjp, y = core.make_vjp(fun, x)
    return vjp(vspace(y).ones())


@unary_to_nary
def deriv(fun, x):
    return core.make_jvp(fun, x)(vspace(x).ones())[1]


@unary_to_nary
def holomorphic_grad(fun, x):
    raise core.Complex("complex numbers are outside of tinygen")


@unary_to_nary
def jacobian(fun, x):
    vjp, y = core.make_vjp(fun, x)
    with deeper():
        rows = [as_tensor(vjp(seed)) for seed in vspace(y).standard_basis()]
        shape = onp.shape(plain(y)) + onp.shape(plain(x))
        stacked = tg.reshape(tg.stack(rows), shape)
    return detraced(stacked)


def hessian(fun, argnum=0):
    return jacobian(jacobian(fun, argnum), argnum)


@unary_to_nary
def value_and_grad(fun, x):
    vjp, y = core.make_vjp(fun, x)
    if vspace(y).size != 1:
        raise TypeError("value_and_grad only applies to real scalar-output functions")
    return y, vjp(vspace(y).ones())


@unary_to_nary
def grad_and_aux(fun, x):
    aux = []

    def first(v):
        y, rest = fun(v)
        aux.append(rest)
        return y
    vjp, y = core.make_vjp(first, x)
    return vjp(vspace(y).ones()), detraced(aux[0])


@unary_to_nary
def make_hvp(fun, x):
    return core.make_vjp(grad(fun), x)


def _contract(gradient, vector):
    with deeper():
        return detraced(tg.tensordot(as_tensor(gradient), as_tensor(vector),
                                     onp.ndim(plain(vector))))


def hessian_tensor_product(fun, argnum=0):
    gradient = grad(fun, argnum)

    def along(*args, **kwargs):
        *given, vector = args
        return _contract(gradient(*given, **kwargs), vector)
    return grad(along, argnum)


hessian_vector_product = hessian_tensor_product


def tensor_jacobian_product(fun, argnum=0):
    def along(*args, **kwargs):
        *given, vector = args
        y = fun(*given, **kwargs)
        with deeper():
            return tg.tensordot(as_tensor(vector), as_tensor(y), onp.ndim(plain(vector)))
    return jacobian(along, argnum)


vector_jacobian_product = tensor_jacobian_product


def make_ggnvp(f, g=lambda v: 0.5 * (v * v).sum(), f_argnum=0):
    return unary_to_nary(lambda fun, x: _ggnvp(fun, x, g))(f, f_argnum)


def _ggnvp(f, x, g):
    vjp, y = core.make_vjp(f, x)
    hvp, _ = core.make_vjp(grad(g), y)
    jvp = core.make_jvp(f, x)
    return lambda v: vjp(hvp(jvp(v)[1]))


def multigrad_dict(fun):
    raise NotImplementedError("multigrad_dict is not part of the shim")


def checkpoint(fun):
    """tinygen's checkpoint inside a trace, the plain function outside."""
    def run(*args, **kwargs):
        if not core.traced(args):
            return fun(*args, **kwargs)
        return tg.checkpoint(fun, *args, **kwargs)
    return run


