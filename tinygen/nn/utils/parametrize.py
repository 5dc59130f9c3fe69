"""Parametrizations: a parameter computed from others by modules, each time that it is read.

`register_parametrization(layer, "weight", module)` replaces `layer.weight` by a property that
calls `module(original)`; the original is a parameter under
`layer.parametrizations.weight.original`, as in PyTorch's state dicts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ...autograd import no_grad
from ...tensor import Tensor
from ..containers import ModuleList
from ..dictionaries import ModuleDict
from ..module import Module, Parameter

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization",
           "remove_parametrizations", "transfer_parametrizations_and_params",
           "type_before_parametrizations"]


class _Cache(threading.local):
    depth = 0

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}


_cache = _Cache()


@contextmanager
def cached() -> Iterator[None]:
    """Inside `with cached():` every parametrized tensor is computed once and remembered."""
    _cache.depth += 1
    try:
        yield
    finally:
        _cache.depth -= 1
        if not _cache.depth:
            _cache.values.clear()


class ParametrizationList(ModuleList):
    """The modules that compute one tensor, and what they compute it from.

    That is `original`, or `original0`, `original1`, ... if the first module's `right_inverse`
    returned several tensors.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False):
        super().__init__(modules)
        if not modules:
            raise ValueError("[ParametrizationList] at least one module is needed")
        self.unsafe = unsafe
        new: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):     # the original starts as it is
                        new = module.right_inverse(new)
        self.is_tensor = isinstance(new, Tensor)
        if not self.is_tensor and not isinstance(new, Sequence):
            raise ValueError("[ParametrizationList] right_inverse must return a tensor or a "
                             f"sequence of tensors, got {type(new).__name__}")
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            if new.dtype != original.dtype:
                raise ValueError(f"[ParametrizationList] right_inverse may not change the dtype: "
                                 f"{original.dtype} became {new.dtype}")
            _set(original, new)
            _register(self, "original", original)
        else:
            for i, part in enumerate(new):
                if isinstance(original, Parameter):
                    part = Parameter(part.detach(), requires_grad=original.requires_grad)
                _register(self, f"original{i}", part)
        if not unsafe:
            _check(self(), original.dtype, original.shape)

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor becomes `value` (as far as it can)."""
        new: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"[parametrize] {type(module).__name__} has no "
                                       "right_inverse: the tensor cannot be assigned to")
                new = module.right_inverse(new)
            parts = [new] if self.is_tensor else list(new)
            originals = self.originals()
            if len(parts) != len(originals):
                raise ValueError(f"[parametrize] right_inverse must return {len(originals)} "
                                 f"tensors, got {len(parts)}")
            for slot, part in zip(originals, parts, strict=True):
                if part.dtype != slot.dtype:
                    raise ValueError(f"[parametrize] right_inverse returned {part.dtype}, the "
                                     f"original is {slot.dtype}")
                _set(slot, part)

    def originals(self) -> list[Tensor]:
        """The tensors that the parametrized one is computed from."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def forward(self) -> Tensor:
        first, *others = list(self)
        x = first(*self.originals())
        for module in others:
            x = module(x)
        return x


def _set(slot: Tensor, value: Tensor) -> None:
    """Give a leaf other memory, of any shape."""
    if value is not slot:
        slot.data = value.data.copy()
        slot.touch()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _check(value: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"[parametrize] a parametrization must return a tensor, got "
                         f"{type(value).__name__}")
    if value.dtype != dtype or value.shape != shape:
        raise ValueError(f"[parametrize] the parametrization makes {value.dtype} {value.shape} of "
                         f"{dtype} {shape}; give unsafe=True to allow that")


# -- classes with properties ---------------------------------------------------------------------


def _property(name: str) -> property:
    def get(self: Any) -> Tensor:
        rule = self.parametrizations[name]
        if not _cache.depth:
            return rule()
        if id(rule) not in _cache.values:
            _cache.values[id(rule)] = rule()
        return _cache.values[id(rule)]

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)
    return property(get, put)


def _class_for(base: Any, names: Sequence[str]) -> Any:
    """A subclass of `base` in which `names` are computed."""
    def assign(self: Any, name: str, value: Any) -> None:
        if name in names:
            object.__setattr__(self, name, value)
        else:
            base.__setattr__(self, name, value)

    def reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (base, tuple(names)), self.__dict__
    members = {name: _property(name) for name in names}
    return type(f"Parametrized{base.__name__}", (base,), {
        **members, "__setattr__": assign, "__reduce_ex__": reduce, "__doc__": base.__doc__,
        "__module__": base.__module__, "_base": base})


def _become(module: Module, cls: type) -> None:
    object.__setattr__(module, "__class__", cls)    # a module keeps what is assigned as a field


def _rebuild(base: Any, names: tuple[str, ...]) -> Module:
    """An empty module for copies and pickles, which fill its fields."""
    cls = _class_for(base, names)
    return cls.__new__(cls)


def type_before_parametrizations(module: Module) -> type:
    """The class that the module had before its first parametrization."""
    return type(module)._base if is_parametrized(module) else type(module)  # type: ignore[attr-defined]


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether any tensor of the module (or the named one) is parametrized."""
    table = module.__dict__.get("parametrizations")
    if not isinstance(table, ModuleDict) or not len(table):
        return False
    return tensor_name is None or tensor_name in table


# -- registering and removing --------------------------------------------------------------------


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *,
                             unsafe: bool = False) -> Module:
    """Compute `module.tensor_name` by `parametrization(original)` from now on; returns the module.

    A second parametrization is applied to the result of the first. A `right_inverse` method makes
    the tensor assignable, and gives the original its start.

    Args:
        unsafe: allow another dtype or shape than the original's.

    Raises:
        ValueError: there is no such parameter or buffer, or dtype or shape would change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        rule: Any = module.parametrizations[tensor_name]
        if not unsafe:
            now = getattr(module, tensor_name)
            _check(parametrization(now), now.dtype, now.shape)
        rule.append(parametrization)
        rule.unsafe |= unsafe
        return module
    if tensor_name not in {**module._parameter_names, **module._buffer_names}:
        raise ValueError(f"[register_parametrization] {type(module).__name__} has no parameter, "
                         f"buffer or parametrized tensor {tensor_name!r}")
    rule = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    base = type_before_parametrizations(module)
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = rule
    _become(module, _class_for(base, tuple(module.parametrizations)))
    return module


def remove_parametrizations(module: Module, tensor_name: str,
                            leave_parametrized: bool = True) -> Module:
    """Make `module.tensor_name` a parameter again; returns the module.

    Args:
        leave_parametrized: keep the computed values; otherwise the original ones come back, which
            takes a parametrization with a single original.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"[remove_parametrizations] {type(module).__name__} has no "
                         f"parametrization of {tensor_name!r}")
    rule: Any = module.parametrizations[tensor_name]
    if not rule.is_tensor and not leave_parametrized:
        raise ValueError(f"[remove_parametrizations] {tensor_name!r} is made of {rule.ntensors} "
                         "tensors; leave_parametrized=False needs one")
    original = rule.originals()[0]
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name).detach()
        if rule.is_tensor:
            _set(original, value)
        else:
            original = (Parameter(value, requires_grad=original.requires_grad)
                        if isinstance(original, Parameter) else value)
    base = type_before_parametrizations(module)
    del module.parametrizations[tensor_name]
    names = tuple(module.parametrizations)
    _become(module, _class_for(base, names) if names else base)
    if not names:
        del module.parametrizations
    _register(module, tensor_name, original)
    return module


def transfer_parametrizations_and_params(from_module: Module, to_module: Module,
                                         tensor_name: str | None = None) -> Module:
    """Parametrize `to_module` as `from_module` is, with the same modules and originals."""
    if not is_parametrized(from_module):
        return to_module
    table: Any = from_module.parametrizations
    for name in list(table) if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for module in table[name]:
            register_parametrization(to_module, name, module)
        ours: Any = to_module.parametrizations[name]
        for key in table[name]._parameter_names:
            setattr(ours, key, getattr(table[name], key))
    return to_module
