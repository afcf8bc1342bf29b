"""The command line: b4r-fast prepare, train, evaluate, recommend."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import SIGINT, Signals
from types import FrameType

from ..errors import InputError
from ..signals import heeded

# A text in quotes is a person's, and so is a path that backticks are a part of.
QUOTED = r"""(?<!\w)'(?:[^'\\]|\\.)*'|(?<!\w)"(?:[^"\\]|\\.)*\""""
FIELD = re.compile(QUOTED + r"|(?<!\S)`(\w+)`(?![^\s,;])")

INSTALLED_BY = {"torch": "pip install torch"} | dict.fromkeys(
    ("typer", "rich", "lightning", "duckdb", "matplotlib", "tensorboard"),
    'pip install "b4r-fast[train]"',
)


def in_options(message: str) -> str:
    """A message of the library as a user of the command line writes it: `min_rating` is
    --min-rating, `prepare` is `b4r-fast prepare`.
    """
    if not any(found[1] for found in FIELD.finditer(message)):
        return message  # that typer is not installed, for one
    from typer.main import get_command

    from .app import app

    spelled = {}
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        spelled[name] = f"`b4r-fast {name}`"
        spelled |= {
            parameter.name: parameter.opts[0]
            for parameter in command.params
            if parameter.opts[0].startswith("-")
        }
    return FIELD.sub(lambda written: spelled.get(written[1], written[0]), message)


def print_error(message: str) -> None:
    """One line on standard error, where all that a person wrote stands as it is."""
    line = re.sub(r"\s*\n\s*", " ", in_options(message).strip())
    visible = re.sub(r"[\0-\x1f\x7f]", lambda control: repr(control[0])[1:-1], line)
    print(f"error: {visible}", file=sys.stderr)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """A signal ends the block as an exit does, so that what is half written goes; the exit code is
    a shell's, 128 and the signal's number.
    """
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if not stopped or number == SIGINT:  # others may come twice, while things are cleared up
            stopped.append(number)
            raise SystemExit(128 + number)

    with heeded(stop):
        try:
            yield
        except BaseException:
            if not stopped:
                raise
            with suppress(OSError):  # the terminal may be what has gone
                name = Signals(stopped[0]).name
                print(f"stopped by {name}; nothing is left half written", file=sys.stderr)
            # DuckDB raises an error of its own in place of ours.
            raise SystemExit(128 + stopped[0]) from None


def what_a_user_can_mend(error: Exception) -> str | None:
    """In a line; None where it is a fault of ours."""
    if isinstance(error, InputError | OSError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in INSTALLED_BY:
        return f"{error.name} is not installed; `{INSTALLED_BY[error.name]}` brings it"
    # torch has no type of its own for the memory of the CPU, and one that is a RuntimeError for
    # that of a GPU.
    if isinstance(error, MemoryError) or re.search("t allocate memory|out of memory", str(error)):
        return (
            "not enough memory: close other programs, or `train` with a smaller `hidden_size`,"
            " `max_length`, `batch_size` or `max_tokens`"
        )
    return None


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what a user can mend is one line on standard error and exit code 2, with
    B4R_FAST_DEBUG=1 a traceback too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An id or a path that the terminal cannot show is no reason to end.
        sys.stdout.reconfigure(errors="backslashreplace")
    with stopped_by_signals():
        try:
            from .app import app

            app(arguments)
        except Exception as error:
            message = what_a_user_can_mend(error)
            if message is None or os.environ.get("B4R_FAST_DEBUG") == "1":
                raise
            print_error(message)
            sys.exit(2)
