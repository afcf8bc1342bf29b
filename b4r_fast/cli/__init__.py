"""The command line: b4r-fast prepare, train, evaluate, recommend."""

from __future__ import annotations

import os
import re
import sys

from ..errors import InputError


def in_options(message: str) -> str:
    """A message of the library as a user of the command line writes it: `min_rating` is
    --min-rating, `prepare` is `b4r-fast prepare`.
    """
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
    return re.sub(r"`(\w+)`", lambda written: spelled.get(written[1], written[0]), message)


def print_error(message: str) -> None:
    """One line on standard error."""
    print(f"error: {' '.join(in_options(message).split())}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what a user can mend is one line on standard error and exit code 2, with
    B4R_FAST_DEBUG=1 a traceback too.
    """
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "lightning", "duckdb", "matplotlib", "tensorboard"):
            raise
        print(
            f'error: {error.name} is not installed; `pip install "b4r-fast[train]"` brings what'
            " the commands need",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        app(arguments)
    except (InputError, OSError) as error:
        if os.environ.get("B4R_FAST_DEBUG") == "1":
            raise
        print_error(str(error))
        sys.exit(2)
