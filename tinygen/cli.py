"""The command `tinygen`, also `python -m tinygen`: errors become one clear line and an exit code.

Exit codes: 0 done, 1 failure, 2 wrong usage, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on `arguments` (default: the process's own) and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:  # `tinygen info | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)   # for what Python flushes at exit
        code = 1
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        import typer
    except ModuleNotFoundError:
        return _say("the command line needs typer: pip install 'tinygen[app]'", 1)
    from .train.app import Stopped, app
    from .train.errors import TrainingWarning, UsageError

    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", TrainingWarning)
        try:
            return app(arguments, standalone_mode=False, prog_name="tinygen") or 0
        except Stopped as stopped:
            return _say(str(stopped), 128 + stopped.stop.signal)
        except (KeyboardInterrupt, typer.Abort):
            return _say("interrupted", 130)
        except BrokenPipeError:
            raise
        except Exception as error:
            if "--debug" in arguments:
                raise
            if hasattr(error, "format_message"):  # typer's own: an unknown option, a bad number
                return _say(f"{error.format_message()} (see {_help(error)})", 2)
            if isinstance(error, UsageError):
                return _say(str(error), 2)
            return _say(_describe(error), 1)


def _describe(error: Exception) -> str:
    from .data import DataError
    from .train.errors import TrainingError

    text = str(error) or "no message"
    if isinstance(error, (TrainingError, DataError, OSError, ModuleNotFoundError)):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


def _help(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'tinygen'} --help"


def _say(text: str, code: int) -> int:
    print(f"tinygen: {text}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                  file: TextIO | None = None, line: str | None = None) -> None:
    print(f"tinygen: warning: {message}", file=sys.stderr)
