"""Modules that hold modules or parameters in order: Sequential and lists."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..tensor import Tensor
from .errors import explain_tuple
from .fused import activated
from .linear import Linear
from .module import Module, Parameter

__all__ = ["ModuleList", "ParameterList", "Sequential"]


class _Numbered(Module):
    """Children (or parameters) under the names "0", "1", ...; the common part of lists.

    `_kind` is the field that holds the names.
    """

    _kind = "_module_names"

    def _names(self) -> list[str]:
        return list(self.__dict__[self._kind])

    def _values(self) -> list[Any]:
        return [self.__dict__[name] for name in self.__dict__[self._kind]]

    def _name_at(self, index: Any) -> str:
        names, i = self._names(), operator.index(index)
        if not -len(names) <= i < len(names):
            raise IndexError(f"[{type(self).__name__}] index {i} is out of range for {len(names)} "
                             "entries")
        return names[i]

    def _refill(self, values: Iterable[Any]) -> None:
        values = list(values)
        for name in self._names():
            delattr(self, name)
        for i, value in enumerate(values):
            setattr(self, str(i), self._checked(value))

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, Module):
            raise TypeError(f"[{type(self).__name__}] entries must be nn.Modules, got "
                            f"{type(value).__name__}{self._hint(value)}")
        return value

    def _hint(self, value: Any) -> str:
        many = isinstance(value, (list, tuple)) and isinstance(self, Sequential)
        return "; write nn.Sequential(*layers)" if many else ""

    def __len__(self) -> int:
        return len(self.__dict__[self._kind])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values())

    def __contains__(self, value: Any) -> bool:
        return any(v is value for v in self._values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(self._values()[index])  # type: ignore[call-arg]
        return self.__dict__[self._name_at(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        setattr(self, self._name_at(index), self._checked(value))

    def __delitem__(self, index: Any) -> None:
        values = self._values()
        if not isinstance(index, slice):
            self._name_at(index)
        del values[index]
        self._refill(values)

    def append(self, value: Any) -> Any:
        """Add one entry at the end; returns self."""
        n = len(self)
        while str(n) in self.__dict__:   # a slice keeps its names: "1", "2" are two entries
            n += 1
        setattr(self, str(n), self._checked(value))
        return self

    def extend(self, values: Iterable[Any]) -> Any:
        """Add several entries at the end; returns self."""
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Any:
        return self.extend(values)

    def insert(self, index: int, value: Any) -> Any:
        """Add one entry before position `index`; returns self."""
        values = self._values()
        values.insert(index, self._checked(value))
        self._refill(values)
        return self

    def pop(self, index: int = -1) -> Any:
        """Remove and return the entry at `index`."""
        value = self[index]
        del self[index]
        return value


class Sequential(_Numbered):
    """Layers one after another: the output of each is the input of the next.

    Takes modules, or one dictionary that names them.

    >>> from tinygen import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> len(model), model[1]
    (3, ReLU())
    """

    def __init__(self, *modules: Module | Mapping[str, Module]):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, self._checked(module))
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        layers, i = self._values(), 0
        last = len(layers) - 1
        try:
            while i <= last:
                layer = layers[i]
                if type(layer) is Linear and i < last:
                    input = activated(layer, layers[i + 1], input)
                    i += 2
                else:
                    input = layer(input)
                    i += 1
        except Exception as error:
            if isinstance(input, tuple) and i:
                explain_tuple(layers[i - 1], error)
            raise
        return input

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            names = self._names()[index]
            return type(self)({name: self.__dict__[name] for name in names})
        return super().__getitem__(index)

    def __delitem__(self, index: Any) -> None:
        if all(name.isdigit() for name in self._names()):
            super().__delitem__(index)
            return
        names = self._names()[index] if isinstance(index, slice) else [self._name_at(index)]
        for name in names:
            delattr(self, name)


    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise TypeError(f"[Sequential] + takes another Sequential, got {type(other).__name__}")
        return Sequential(*self, *other)

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*self._repeated(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        return self.extend(self._repeated(times)[len(self):])

    def _repeated(self, times: int) -> list[Any]:
        """The same modules, `times` over: their parameters are shared."""
        if isinstance(times, bool) or not isinstance(times, int):
            raise TypeError(f"[Sequential] * takes an integer, got {type(times).__name__}")
        if times < 1:
            raise ValueError(f"[Sequential] * takes a positive integer, got {times}")
        return self._values() * times


class ModuleList(_Numbered):
    """A list of modules whose parameters are found; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules or ())

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


class ParameterList(_Numbered):
    """A list of parameters; tensors that are put in become parameters."""

    _kind = "_parameter_names"

    def __init__(self, values: Iterable[Any] = ()):
        super().__init__()
        self.extend(values or ())

    def _checked(self, value: Any) -> Any:
        if isinstance(value, Parameter):
            return value
        if not isinstance(value, Tensor):
            raise TypeError("[ParameterList] entries must be tensors, got "
                            f"{type(value).__name__}")
        return Parameter(value)

    def extra_repr(self) -> str:
        return ", ".join(f"({i}): {p.dtype} {p.shape}" for i, p in enumerate(self))
