"""Parameter and Module: the tree of layers, and everything that walks it.

A module keeps its parameters, buffers and submodules as plain attributes, so reading one costs
what reading any attribute costs; beside them it keeps the names of each kind, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from .. import backend
from ..leaves import forget
from ..mode import TAPE, edits, local
from ..tensor import Tensor
from .errors import check_kind, elsewhere, forgot_init, name_layer
from .hooks import Hook, HookHandle, call_hooked
from .refused import KERAS_ARGUMENTS, refuse_arguments

if TYPE_CHECKING:
    from .summary import Summary

__all__ = ["HookHandle", "LoadResult", "Module", "Parameter"]

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a module learns: assigned to an attribute, it is in `parameters()`.

    Args:
        data: a tensor (its memory is shared), or anything that `Tensor` takes.
        requires_grad: false freezes it.
    """

    __slots__ = ()

    def __init__(self, data: Any = (), requires_grad: bool = True, dtype: Any = None,
                 device: Any = None):
        if isinstance(data, Tensor):
            self._fill(backend.as_array(data.data, dtype, device))
        else:
            super().__init__(data, dtype=dtype, device=device)
        self.requires_grad_(requires_grad)


class LoadResult(NamedTuple):
    """What `load_state_dict(strict=False)` left out, on either side."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of all layers and models: write `__init__` and `forward`, call it like a function.

    >>> from tinygen import nn
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return self.layer(self.layer(x))
    >>> sum(p.size for p in Twice().parameters())
    12
    """

    training: bool
    host_buffers: tuple[str, ...] = ()     # buffers that `to` leaves on the CPU: they are read

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if kwargs and not KERAS_ARGUMENTS.keys().isdisjoint(kwargs):
            refuse_arguments(cls, kwargs)
        return super().__new__(cls)

    def __init__(self) -> None:
        fields = self.__dict__
        fields["training"] = True
        fields["_parameter_names"] = {}      # names, in order of assignment; values are attributes
        fields["_buffer_names"] = {}         # name -> is it part of the state dict?
        fields["_module_names"] = {}
        fields["_pre_hooks"] = {}
        fields["_hooks"] = {}

    # -- calling ---------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define it")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if local.mode & TAPE:
            local.tape.guard_layer(self)
        try:
            if self._hooks or self._pre_hooks:
                return call_hooked(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            name_layer(self, error)
            raise

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                                  with_kwargs: bool = False) -> HookHandle:
        """Call `hook(module, args)` before every forward; a result replaces the arguments.

        `with_kwargs` makes it `hook(module, args, kwargs)`, which may return both; `prepend`
        puts it before the hooks that are there.
        """
        return HookHandle(self._pre_hooks, Hook(hook, with_kwargs=True) if with_kwargs else hook,
                          prepend)

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                              with_kwargs: bool = False, always_call: bool = False) -> HookHandle:
        """Call `hook(module, args, output)` after every forward; a result replaces the output.

        `with_kwargs` makes it `hook(module, args, kwargs, output)`; `always_call` calls it with
        None for the output when forward has raised.
        """
        options = with_kwargs or always_call
        return HookHandle(self._hooks, Hook(hook, "forward", with_kwargs, always_call)
                          if options else hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any],
                                        prepend: bool = False) -> HookHandle:
        """Call `hook(module, grad_output)` when gradients reach the module; a result replaces them.
        """
        return HookHandle(self._hooks, Hook(hook, "backward_pre"), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any],
                                    prepend: bool = False) -> HookHandle:
        """Call `hook(module, grad_input, grad_output)` when gradients have passed the module.

        Both are tuples, with an entry for each argument and output: its gradient, or None for
        what carries none. A result replaces the gradients of the arguments.
        """
        return HookHandle(self._hooks, Hook(hook, "backward"), prepend)

    # -- attributes ------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        if isinstance(value, (Parameter, Module)):
            kind = "_parameter_names" if isinstance(value, Parameter) else "_module_names"
            if kind not in fields:
                raise AttributeError(forgot_init(self, f"assign {name!r}"))
            for other in ("_parameter_names", "_buffer_names", "_module_names"):
                if other != kind:
                    fields[other].pop(name, None)
            fields[kind].setdefault(name, None)
        elif "_module_names" in fields:
            check_kind(self, name, value)
        fields[name] = value
        edits[0] += 1

    def __delattr__(self, name: str) -> None:
        if name not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        for kind in ("_parameter_names", "_buffer_names", "_module_names"):
            self.__dict__.get(kind, {}).pop(name, None)
        del self.__dict__[name]

    def __getattr__(self, name: str) -> Any:
        if "_module_names" not in self.__dict__ and not name.startswith("__"):
            raise AttributeError(forgot_init(self, f"use {name!r}"))
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{elsewhere(name)}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name (as `bias` where there is none)."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"[{type(self).__name__}] parameter {name!r} must be an nn.Parameter "
                            f"or None, got {type(param).__name__}")
        self._reserve(name, "_parameter_names")
        self._parameter_names[name] = None
        self.__dict__[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state and is not learnt, such as a running mean.

        It moves with `to()`; it is part of the state dict if it is persistent.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"[{type(self).__name__}] buffer {name!r} must be a Tensor or None, "
                            f"got {type(tensor).__name__}")
        self._reserve(name, "_buffer_names")
        self._buffer_names[name] = bool(persistent)
        self.__dict__[name] = tensor

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name: the same as assigning it to an attribute."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"[{type(self).__name__}] submodule {name!r} must be an nn.Module or "
                            f"None, got {type(module).__name__}")
        self._reserve(name, "_module_names")
        self._module_names[name] = None
        self.__dict__[name] = module

    add_module = register_module

    def _reserve(self, name: str, kind: str) -> None:
        if kind not in self.__dict__:
            raise AttributeError(forgot_init(self, f"register {name!r}"))
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"[{type(self).__name__}] a name must be a string that is not empty "
                           f"and has no '.', got {name!r}")
        if name not in self.__dict__[kind] and hasattr(self, name):
            raise KeyError(f"[{type(self).__name__}] the attribute {name!r} exists already")

    # -- walking the tree ------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules with their names; a shared one is given once."""
        seen: set[int] = set()
        for name in self._module_names:
            child = self.__dict__[name]
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (child for _, child in self.named_children())

    def named_modules(self, memo: set[int] | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their paths, `""` for itself; each one once."""
        memo = set() if memo is None else memo
        if remove_duplicate and id(self) in memo:
            return
        memo.add(id(self))
        names = self._module_names
        yield prefix, self
        for name in list(names):
            child = self.__dict__[name]
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name,
                                               remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def _named(self, kind: str, prefix: str, recurse: bool,
               remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        start = [(prefix, self)]
        owners = self.named_modules(None, prefix, remove_duplicate) if recurse else start
        for path, module in owners:
            for name in getattr(module, kind):
                value = module.__dict__[name]
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths; one that is shared is given once."""
        return self._named("_parameter_names", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, for an optimizer."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their paths."""
        return self._named("_buffer_names", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as `"decoder.0"`; `""` is this one."""
        module: Any = self
        for name in target.split(".") if target else ():
            if name not in module._module_names or module.__dict__[name] is None:
                raise AttributeError(f"{type(module).__name__} has no submodule {name!r} (looking "
                                     f"for {target!r}); it has {list(module._module_names)}")
            module = module.__dict__[name]
        return module

    def _get_tensor(self, target: str, kind: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if name not in owner.__dict__[kind]:
            raise AttributeError(f"{type(owner).__name__} has no {what} {name!r}; it has "
                                 f"{list(owner.__dict__[kind])}")
        return owner.__dict__[name]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as `"decoder.0.weight"`."""
        return self._get_tensor(target, "_parameter_names", "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as `"norm.running_mean"`."""
        return self._get_tensor(target, "_buffer_names", "buffer")

    # -- changing the tree -----------------------------------------------------------------------

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on every module, children first; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Training behaviour of dropout and batch norm on (or off); returns self."""
        if not isinstance(mode, bool):
            raise TypeError(f"[{type(self).__name__}] train() takes True or False, got {mode!r}")
        for module in self.modules():
            module.__dict__["training"] = mode
        edits[0] += 1
        return self

    def eval(self: M) -> M:
        """Evaluation behaviour: dropout off, batch norm with its running statistics."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or free all parameters; returns self."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        forget(self.parameters(), set_to_none)

    def to(self: M, *args: Any, device: Any = None, dtype: Any = None) -> M:
        """Move to a device and/or convert to a floating point dtype, in place; returns self.

        Integer buffers keep their dtype. Nothing is changed if anything cannot be converted.
        """
        from .state import convert
        convert(self, args, device, dtype)
        return self

    def cpu(self: M) -> M:
        """Move to the CPU."""
        return self.to(device="cpu")

    def cuda(self: M, device: Any = "cuda") -> M:
        """Move to a GPU."""
        return self.to(device=device)

    def float(self: M) -> M:
        """Convert to float32."""
        return self.to(dtype=np.float32)

    def double(self: M) -> M:
        """Convert to float64."""
        return self.to(dtype=np.float64)

    def half(self: M) -> M:
        """Convert to float16."""
        return self.to(dtype=np.float16)

    def bfloat16(self: M) -> M:
        """Convert to bfloat16 (needs ml_dtypes)."""
        return self.to(dtype="bfloat16")

    # -- state -----------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and persistent buffers by path: tensors that share the module's memory."""
        from .state import state_dict
        return state_dict(self, prefix, keep_vars)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values into parameters and buffers by path: all of them, or none.

        Values may be tensors of tinygen or PyTorch, or NumPy arrays. With `strict=False` keys
        may be missing or left over; the result names them.

        Raises:
            RuntimeError: keys are missing or unexpected, or shapes differ; the message lists
                every one of them, and nothing has been loaded.
        """
        from .state import load_state_dict
        return load_state_dict(self, state_dict, strict)

    # -- showing ---------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of the repr: the layer's arguments."""
        return ""

    def __repr__(self) -> str:
        from .summary import module_repr
        return module_repr(self)

    def summary(self, *inputs: Any, dtype: Any = None) -> Summary:
        """A table of the layers: name, type, output shape and parameters, with totals.

        Args:
            inputs: example inputs, or shapes of them (batch axis included); without any the
                table has no output shapes.
            dtype: the number type of inputs that are given as shapes (default: that of the
                first parameter).
        """
        from .summary import summarize
        return summarize(self, inputs, dtype)
