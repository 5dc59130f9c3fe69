"""Functions with derivatives of their own: not offered by this shim, and said so at the call."""


def primitive(fun):
    return fun


def defvjp(fun, *rules, **options):
    raise NotImplementedError("defvjp belongs to autograd's own extension mechanism")


defjvp = defvjp
