"""b4r-fast recommend"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..data import read_histories
from ..errors import InputError
from .terminal import loading
from .verbatim import say, verbatim


def read_ids(path: str) -> list[list[str]]:
    """Raw ids, a list a line; "-" is standard input."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    return read_histories(content, path)


def recommend(
    run: Annotated[
        Path, typer.Argument(help="A run folder of b4r-fast train.", show_default=False)
    ],
    history: Annotated[
        str | None,
        typer.Option(
            help=(
                "A file with one history a line, raw item ids from oldest to newest, separated by"
                " blanks or tabs, or as JSON lists where ids hold blanks; - reads standard input."
            ),
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            help="A user of the training data, by raw id; may be repeated.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The prepared folder with the history of --user.",
            show_default="the one trained on",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Recommend items of the history too.")
    ] = False,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="A file of raw item ids, written as for --history; only those are recommended.",
            show_default="all items",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a user instead of a table.")
    ] = False,
) -> None:
    """Recommend next items, in raw ids, for histories or for users of the training data.

    Histories may be of users never seen in training; items that the model does not know are left
    out, with a warning.
    """
    if (history is None) == (not user):
        raise InputError("give either --history FILE or --user ID")
    if data is not None and not user:
        raise InputError("--data has the histories of --user; leave it out with --history")
    with loading("PyTorch"):
        from ..serving import Recommender
    recommender = Recommender(run, data)
    if history is not None:
        histories = read_ids(history)
        names = [f"line {i + 1}" for i in range(len(histories))]
        if not histories:
            raise InputError(
                f"{history}: no history; one line of raw item ids for each user is expected"
            )
    else:
        names = user or []
        histories = [recommender.history_of(name) for name in names]
    allowed = (
        None if candidates is None else [item for line in read_ids(candidates) for item in line]
    )
    console, warnings = Console(), Console(stderr=True)
    found = recommender.recommend(histories, k, exclude_seen=not include_seen, candidates=allowed)
    for name, result in zip(names, found):
        if result.skipped:
            say(warnings, f"warning: {name}: unknown items left out: {', '.join(result.skipped)}")
        if as_json:
            print(
                json.dumps(
                    {
                        "user": name,
                        "items": result.items,
                        "scores": [round(score, 6) for score in result.scores],
                    },
                    allow_nan=False,
                )
            )
            continue
        table = Table("rank", "item", "score", title=verbatim(name), title_justify="left")
        for place, (item, score) in enumerate(zip(result.items, result.scores), start=1):
            table.add_row(str(place), verbatim(item), f"{score:.3f}")
        console.print(table)
