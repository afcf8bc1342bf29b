"""The typer application: what the commands have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import getdoc
from typing import Annotated

import typer

from ..version import VERSION
from .convert import convert
from .evaluate import evaluate
from .export import export
from .prepare import prepare
from .recommend import recommend
from .train import train


def examples(*lines: str) -> str:
    """What stands under a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"[cyan]{line}[/]" for line in lines)


app = typer.Typer(
    name="b4r-fast",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: [cyan]b4r-fast prepare ratings.csv --out data[/],"
    " [cyan]b4r-fast train data --out run[/],"
    " [cyan]b4r-fast evaluate run[/], [cyan]b4r-fast recommend run --user 42[/]",
)


def _add(command: Callable, *lines: str) -> None:
    """typer keeps the line breaks of a docstring, which are where the source's width has them."""
    paragraphs = (getdoc(command) or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(help=text, epilog=examples(*lines))(command)


_add(
    prepare,
    "b4r-fast prepare ratings.csv --out data --min-user-actions 5 --min-item-actions 5",
    "b4r-fast prepare ml-100k --out data",
)
_add(
    train,
    "b4r-fast train data --out run",
    "b4r-fast train ml-1m --out run --preset paper-ml-1m",
    "b4r-fast train data --out run --resume",
)
_add(evaluate, "b4r-fast evaluate run", "b4r-fast evaluate run --protocol pop100 --json")
_add(
    recommend,
    "b4r-fast recommend run --user 42 -k 5",
    "b4r-fast recommend run --history histories.txt --json",
)
_add(
    convert,
    "b4r-fast convert rectools.ckpt --out run",
    "b4r-fast convert saved/BERT4Rec.pth --items saved/dataset.pth --out run",
)
_add(
    export,
    "b4r-fast export run --out served --format onnx -k 20",
    "b4r-fast export run --out index --format vectors",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"b4r-fast {VERSION}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback with every error.")
    ] = False,
) -> None:
    """BERT4Rec from raw log to recommendations: prepare a log, train, evaluate, recommend."""
    if debug:
        os.environ["B4R_FAST_DEBUG"] = "1"
