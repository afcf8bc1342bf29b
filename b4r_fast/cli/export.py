"""b4r-fast export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import InputError
from ..files import atomic_folder
from .terminal import loading, working
from .verbatim import say

FORMATS = {
    "onnx": "model.onnx recommends in ONNX Runtime",
    "torch": "model.pt2 is a program of torch.export, for torch alone or AOTInductor",
    "vectors": "items.parquet and users.parquet, for a vector index of inner products",
    "npy": "the same as items.npy and users.npy, with the raw ids beside them",
}


def export(
    run: Annotated[
        Path,
        typer.Argument(help="A run folder of b4r-fast train or convert.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to write.", show_default=False)
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="; ".join(f"[bold]{name}[/]: {FORMATS[name]}" for name in FORMATS) + ".",
        ),
    ] = "onnx",
    k: Annotated[int, typer.Option("-k", help="How many items onnx and torch recommend.")] = 10,
    include_seen: Annotated[
        bool,
        typer.Option("--include-seen", help="onnx and torch recommend items of the history too."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The prepared folder with the histories of users.",
            show_default="the one trained on",
        ),
    ] = None,
) -> None:
    """Write a model in the form that other systems serve.

    onnx and torch take padded histories of internal ids, any number and length, 0 being padding;
    items.parquet beside them has the raw id of each. vectors and npy rank as recommend does by the
    inner product of a user's vector and an item's.
    """
    if form not in FORMATS:
        raise InputError(f"--format must be one of {', '.join(FORMATS)}, got {form!r}")
    if out.exists():
        raise InputError(f"{out}: is there already; choose another --out")
    with loading("PyTorch"):
        from ..export.folder import write_folder
    with working(f"exporting {run}"), atomic_folder(out) as folder:
        write_folder(folder, run, form, k=k, exclude_seen=not include_seen, data=data)
    written = ", ".join(sorted(file.name for file in out.iterdir()))
    say(Console(stderr=True), f"{out}: {written}")
