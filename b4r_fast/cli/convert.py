"""b4r-fast convert"""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console

from .terminal import loading
from .verbatim import say

SYSTEMS = "huggingface, rectools, replay, recbole, vae-pytorch, tensorflow"


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A folder of Hugging Face's save_pretrained; a checkpoint file of RecTools,"
            " RePlay, RecBole or BERT4Rec-VAE-Pytorch; or the prefix of one of the authors'"
            " TensorFlow code.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The run folder to write.", show_default=False)
    ],
    source: Annotated[
        str,
        typer.Option("--from", help=f"What wrote it: {SYSTEMS}; or auto, by what is in it."),
    ] = "auto",
    items: Annotated[
        Path | None,
        typer.Option(
            help="The raw ids of the items, where the checkpoint has none: text with one a line, in"
            " the order of the model's items; JSON or Parquet; RecBole's saved data set;"
            " BERT4Rec-VAE-Pytorch's dataset.pkl; the authors' .vocab.",
            show_default=False,
        ),
    ] = None,
    mask_id: Annotated[
        int | None,
        typer.Option(
            help="The token of the mask, where the checkpoint does not say it.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run that is there.")
    ] = False,
) -> None:
    """Make a run folder of a model that another system has trained: the same scores, for recommend,
    evaluate and train --init-from.

    Nothing in the checkpoint is run, whoever wrote it. What the model cannot keep is printed.
    """
    with loading("PyTorch"):
        from ..convert import load
        from ..convert.run import write_run
    converted = load(checkpoint, source=source, items=items, mask_id=mask_id)
    write_run(out, converted, converted.source, overwrite=overwrite)
    console = Console(stderr=True)
    config = converted.model.config
    say(
        console,
        f"from {converted.source}: {config.num_items:,} items, d = {config.hidden_size},"
        f" {config.num_layers} layers, {config.num_heads} heads, at most {config.max_length} items"
        " a sequence",
    )
    for line in converted.left_out:
        say(console, f"not kept: {line}")
    if converted.item_ids is None:
        say(
            console,
            "the checkpoint has no raw ids of its items; with --items, recommend and evaluate take"
            " the run too",
        )
        return
    say(console, f"{out} is a run: `b4r-fast recommend {quote(str(out))} --history FILE`")
