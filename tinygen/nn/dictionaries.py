"""Modules that hold modules or parameters by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..tensor import Tensor
from .module import Module, Parameter

__all__ = ["ModuleDict", "ParameterDict"]


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
