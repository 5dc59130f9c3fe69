"""Errors of modules: an op that fails inside a layer is told which layer that was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module

# Their text may be rewritten; an exception of another class may carry meaning in its arguments.
_PLAIN = (ValueError, TypeError, IndexError, RuntimeError, KeyError, ZeroDivisionError,
          AttributeError, MemoryError, NotImplementedError, OverflowError)


def name_layer(module: Module, error: Exception) -> None:
    """Write the path and repr of the innermost failing layer into `error`.

    Called by each module that the error passes on its way out: the first one names itself, the
    others prefix the attribute under which they hold the one before, so that the path ends as
    `generator.1` for the caller of the root.
    """
    trail = error.__dict__.get("_layer_trail")
    if trail is None:
        text = error.args[0] if len(error.args) == 1 else None
        text = text if type(error) in _PLAIN and isinstance(text, str) else None
        trail = error.__dict__["_layer_trail"] = [module, "", _short(module), text]
        if text is None:
            error.add_note("")
            trail.append(len(error.__notes__) - 1)
    else:
        below = trail[0]
        trail[0] = module
        for name, found in module.named_modules():
            if found is below and name:
                trail[1] = f"{name}.{trail[1]}" if trail[1] else name
                break
    _, path, layer, text, *note = trail
    where = f"in layer {path} ({layer})" if path else f"in layer {layer}"
    if text is not None:
        error.args = (f"{text}; {where}",)
    else:
        error.__notes__[note[0]] = f"  {where}"


def explain_tuple(layer: Module, error: Exception) -> None:
    """Note on `error` that the layer before gave several results, as recurrent layers do."""
    error.add_note(f"  the layer before it, {_short(layer)}, gives a tuple: take its output out "
                   "with output, state = layer(x), which nn.Sequential does not do")


def _short(module: Module) -> str:
    extra = module.extra_repr()
    return f"{type(module).__name__}({extra})" if extra else type(module).__name__


def check_kind(module: Module, name: str, value: Any) -> None:
    """Refuse a value that would silently replace a parameter, a buffer or a submodule."""
    fields = module.__dict__
    if value is None:
        return
    kind, wanted = None, ""
    if name in fields["_parameter_names"]:
        kind, wanted = "parameter", "nn.Parameter or None"
    elif name in fields["_module_names"]:
        kind, wanted = "submodule", "nn.Module or None"
    elif name in fields["_buffer_names"] and not isinstance(value, Tensor):
        kind, wanted = "buffer", "Tensor or None"
    if kind:
        raise TypeError(f"[{type(module).__name__}] cannot assign a {type(value).__name__} to the "
                        f"{kind} {name!r}: {wanted} is expected")


def forgot_init(module: Module, action: str) -> str:
    """The message for a module whose `__init__` never reached `Module.__init__`."""
    kind = type(module).__name__
    return (f"cannot {action} before Module.__init__() has run: call super().__init__() first in "
            f"{kind}.__init__")


# Keras's loop is not a method here: what is learnt, in which order, is the training step.
_FIT = ("write the loop (loss.backward(), optimizer.step()), or give a model with a training_step, "
        "such as tinygen.models.build('dcgan', (3, 64, 64)), to tinygen.train.Trainer; a GAN "
        "alternates between its two networks, and its generator is given noise")
_PREDICT = ("call it: model(x), after model.eval() and under tinygen.no_grad(); a GAN's pictures "
            "are generator(noise), its discriminator gives scores")
_WEIGHTS = "use state_dict() and load_state_dict(state)"

# Methods of torch.nn.Module and of Keras that have no counterpart -> what to do.
ELSEWHERE = {
    "get_extra_state": "register_buffer(name, tensor) puts state into the state dict",
    "set_extra_state": "register_buffer(name, tensor) puts state into the state dict",
    "set_submodule": "assign to the parent: model.get_submodule(path).name = module",
    "register_backward_hook": "use register_full_backward_hook",
    "to_empty": "layers are made with their values; use to(device)",
    "type": "use to(dtype)",
    "compile": "record a step with tinygen.jit; what Keras's compile() is given goes "
               "elsewhere: optim.Adam(model.parameters()), nn.BCEWithLogitsLoss()",
    "fit": _FIT, "fit_generator": _FIT, "train_on_batch": _FIT,
    "predict": _PREDICT, "predict_on_batch": _PREDICT,
    "evaluate": "compute the loss of held-out data under tinygen.no_grad(), after model.eval()",
    "add": "use append(layer)", "layers": "use children() or list(model)",
    "trainable": "use requires_grad_(False) and requires_grad_(True)",
    "trainable_weights": "use parameters()", "weights": "use parameters()",
    "get_weights": _WEIGHTS, "set_weights": _WEIGHTS,
    "save": "use tinygen.save(model.state_dict(), path)",
    "save_weights": "use tinygen.save(model.state_dict(), path)",
    "load_weights": "use tinygen.nn.load_weights(model, path)",
    "share_memory": "arrays are this process's own", "xpu": "use to(device)",
    "ipu": "use to(device)", "mtia": "use to(device)",
    **{f"register_{kind}": "change the dict that state_dict() gives, or that you load, with "
                           "nn.load_weights(model, path, rules)"
       for kind in ("state_dict_pre_hook", "state_dict_post_hook", "load_state_dict_pre_hook",
                    "load_state_dict_post_hook")},
}


def elsewhere(name: str) -> str:
    """What to use in place of a method of another library's that a module does not have."""
    return f"; {ELSEWHERE[name]}" if name in ELSEWHERE else ""
