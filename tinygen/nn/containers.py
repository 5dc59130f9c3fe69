"""Modules that hold modules: Sequential, ModuleList, ModuleDict, ParameterList."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..tensor import Tensor
from .module import Module, Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterList", "Sequential"]


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
                            f"{type(value).__name__}")
        return value

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

    def insert(self, index: int, value: Any) -> None:
        """Add one entry before position `index`."""
        values = self._values()
        values.insert(index, self._checked(value))
        self._refill(values)

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
        fields = self.__dict__
        for name in self._module_names:
            input = fields[name](input)
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


class ModuleList(_Numbered):
    """A list of modules whose parameters are found; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules or ())

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


class ModuleDict(Module):
    """A dictionary of modules, in order of insertion; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()):
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add all pairs of a mapping or of an iterable of pairs."""
        for name, module in dict(modules).items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        if name not in self._module_names:
            raise KeyError(f"[ModuleDict] no module {name!r}; there are {list(self._module_names)}")
        return self.__dict__[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"[ModuleDict] {name!r} must be an nn.Module, got "
                            f"{type(module).__name__}")
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._module_names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._module_names)

    def __contains__(self, name: object) -> bool:
        return name in self._module_names

    def keys(self) -> Iterable[str]:
        """The names."""
        return list(self._module_names)

    def values(self) -> Iterable[Module]:
        """The modules."""
        return [self.__dict__[name] for name in self._module_names]

    def items(self) -> Iterable[tuple[str, Module]]:
        """Pairs of name and module."""
        return [(name, self.__dict__[name]) for name in self._module_names]

    def pop(self, name: str) -> Module:
        """Remove and return the module under `name`."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Remove all modules."""
        for name in list(self._module_names):
            delattr(self, name)


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
