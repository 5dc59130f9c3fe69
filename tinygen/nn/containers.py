"""Modules that hold modules or parameters: Sequential, lists and dictionaries."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..tensor import Tensor
from .errors import explain_tuple
from .fused import activated
from .linear import Linear
from .module import Module, Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


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


class ParameterDict(Module):
    """A dictionary of parameters, in order of insertion; tensors that are put in become parameters.

    Other values are kept as they are.

    >>> import tinygen as tg
    >>> weights = ParameterDict({"a": tg.zeros((2, 3))})
    >>> [name for name, p in weights.named_parameters()]
    ['a']
    """

    def __init__(self, parameters: Any = None):
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def update(self, parameters: Any) -> None:
        """Add all pairs of a mapping or of an iterable of pairs.

        The names of a plain dictionary are sorted, as in PyTorch; others keep their order.
        """
        if not isinstance(parameters, Iterable):
            raise TypeError("[ParameterDict] update takes a mapping or pairs, got "
                            f"{type(parameters).__name__}")
        pairs: Any = parameters.items() if hasattr(parameters, "items") else parameters
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs = sorted(pairs)
        for name, value in list(pairs):
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        if name not in self._keys:
            raise KeyError(f"[ParameterDict] no entry {name!r}; there are {list(self._keys)}")
        return self.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"[ParameterDict] names must be strings, got {name!r}")
        if name not in self._keys:
            self._reserve(name, "_parameter_names")
        elif name in self.__dict__:
            delattr(self, name)
        if isinstance(value, Tensor) and not isinstance(value, Parameter):
            value = Parameter(value)
        setattr(self, name, value)
        self._keys[name] = None

    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)
        del self._keys[name]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        """The parameters."""
        return [self[name] for name in self._keys]

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and parameter."""
        return [(name, self[name]) for name in self._keys]

    def get(self, name: str, default: Any = None) -> Any:
        """The parameter under `name`, or `default`."""
        return self.__dict__[name] if name in self._keys else default

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The parameter under `name`, which `default` becomes if there is none."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str) -> Any:
        """Remove and return the parameter under `name`."""
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest pair."""
        if not self._keys:
            raise KeyError("[ParameterDict] popitem() of an empty dictionary")
        name = next(reversed(self._keys))
        return name, self.pop(name)

    def clear(self) -> None:
        """Remove everything."""
        for name in list(self._keys):
            del self[name]

    def copy(self) -> ParameterDict:
        """Another dictionary of the same parameters."""
        return ParameterDict(self)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A dictionary with `default` under each of `keys`."""
        return ParameterDict((name, default) for name in keys)

    def __or__(self, other: Any) -> ParameterDict:
        out = self.copy()
        out.update(other)
        return out

    def __ror__(self, other: Any) -> ParameterDict:
        out = ParameterDict(other)
        out.update(self)
        return out

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        return ", ".join(f"({name}): {v.dtype} {v.shape}" if isinstance(v, Tensor) else
                         f"({name}): {v!r}" for name, v in self.items())
