"""b4r-fast prepare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..data import DATASETS, Columns, PreparedData, Preprocessing, prepare_dataset
from ..data import prepare as prepare_log
from ..data.logs import FORMATS
from ..data.preparation import MEMORY_LIMIT
from ..errors import InputError
from .terminal import working
from .verbatim import say, verbatim

STANDARD_INPUT = "/dev/stdin"
COLUMNS, KEPT = "Columns (a header name, or a number from 1)", "What is kept"


ODD_IDS = {
    "floats": "the {role} ids all end in .0, as whole numbers do that a program made floats: that"
    " is how `b4r-fast recommend` knows them",
    "floats and integers": "some {role} ids stand there with .0 and without, as 1.0 and 1: they"
    " are two {role}s each; if they should be one, write them alike and prepare again",
    "lists": "the {role} ids look like lists, as [1, 2], and each is one {role}; for a list of"
    " them write Parquet, or a row for each",
}


def statistics_table(data: PreparedData) -> Table:
    """Users, items, actions, average length and density, as the papers print them."""
    found = data.statistics
    table = Table(title=verbatim(data.folder), title_justify="left")
    lengths = found["shortest"], found["median_length"], found["longest"]
    cells = {
        "users": f"{found['users']:,}",
        "items": f"{found['items']:,}",
        "actions": f"{found['actions']:,}",
        "average length": f"{found['average_length']:.1f}",
        "shortest / median / longest": " / ".join(f"{length:,.0f}" for length in lengths),
        "density": f"{found['density']:.2%}"
        if found["density"] >= 0.001
        else f"{found['density']:.4%}",
        "repeats: all / held out": " / ".join(
            "-" if share is None else f"{share:.1%}"
            for share in (found["repeats"], found["held_out_repeats"])
        ),
    }
    for name in cells:
        table.add_column(name, justify="right")
    table.add_row(*cells.values())
    return table


def chosen_columns(names: dict[str, str]) -> str:
    """Which columns were read, since a name may mislead."""
    read = ", ".join(f"{role} from {name!r}" for role, name in names.items())
    return f"columns read: {read}" + (
        "" if "time" in names else "; no time: the order is the file's"
    )


def prepare(
    log: Annotated[
        str,
        typer.Argument(
            help=f"A log file, - for standard input, or a known data set: {', '.join(DATASETS)}.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="The folder to write; one that was prepared before is replaced."
        ),
    ],
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format", help=f"One of {', '.join(FORMATS)}.", show_default="by the file name"
        ),
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="The first row is data; name columns by number.")
    ] = False,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help=r"Between the fields of a line, such as ; or \t.", show_default="by the format"
        ),
    ] = None,
    quote: Annotated[
        str | None,
        typer.Option(
            help="Around a field that holds a delimiter; '' where a quote is a character like any"
            " other.",
            show_default="by the format",
        ),
    ] = None,
    user_column: Annotated[
        str | None, typer.Option(help="Who acted.", show_default="by name", rich_help_panel=COLUMNS)
    ] = None,
    item_column: Annotated[
        str | None, typer.Option(help="On what.", show_default="by name", rich_help_panel=COLUMNS)
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(
            help="When: a number or a date.",
            show_default="by name, else the file's order",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    rating_column: Annotated[
        str | None,
        typer.Option(help="How it was rated.", show_default="by name", rich_help_panel=COLUMNS),
    ] = None,
    min_rating: Annotated[
        float | None,
        typer.Option(
            help="Keep actions rated at least this.", show_default="all", rich_help_panel=KEPT
        ),
    ] = None,
    min_user_actions: Annotated[
        int,
        typer.Option(
            min=1,
            help="Drop users with fewer actions (SASRec and BERT4Rec: 5).",
            rich_help_panel=KEPT,
        ),
    ] = 1,
    min_item_actions: Annotated[
        int,
        typer.Option(
            min=1,
            help="Drop items with fewer; repeated with the users' until both hold.",
            rich_help_panel=KEPT,
        ),
    ] = 1,
    deduplicate: Annotated[
        str | None,
        typer.Option(
            help="Of a user's actions on one item, keep the [bold]first[/] or the [bold]last[/].",
            show_default="all",
            rich_help_panel=KEPT,
        ),
    ] = None,
    memory_limit: Annotated[
        str, typer.Option(help="Of DuckDB; beyond it, it spills beside the output.")
    ] = MEMORY_LIMIT,
) -> None:
    """Turn a raw log into a folder of sequences.

    Reads CSV, TSV, Parquet, RecBole .inter, MovieLens ratings.dat, text with one sequence of items
    a line (.txt) and with one "user item" pair a line (--format pairs), each also as .gz. Memory
    stays bounded however large the log is.
    """
    with working(f"preparing {log}") as progress:
        columns = Columns(user_column, item_column, time_column, rating_column)
        preprocessing = Preprocessing(min_rating, min_user_actions, min_item_actions, deduplicate)
        if log in DATASETS and not Path(log).is_file():
            written = file_format, no_header or None, delimiter, quote
            if written != (None,) * 4 or (columns, preprocessing) != (Columns(), Preprocessing()):
                raise InputError(
                    f"{log} is prepared as the papers do; give a file for other options"
                )
            data = prepare_dataset(log, out, memory_limit=memory_limit, progress=progress)
        else:
            data = prepare_log(
                STANDARD_INPUT if log == "-" else log,
                out,
                columns=columns,
                file_format=file_format,
                header=not no_header,
                delimiter="\t" if delimiter == r"\t" else delimiter,
                quote=quote,
                preprocessing=preprocessing,
                memory_limit=memory_limit,
                progress=progress,
            )
    Console().print(statistics_table(data))
    console = Console(stderr=True)
    if chosen := data.statistics["columns"]:
        say(console, chosen_columns(chosen))
    for role, oddities in data.statistics["odd_ids"].items():
        for oddity in oddities:
            say(console, ODD_IDS[oddity].format(role=role))
    short = int((data.sequences.lengths < 3).sum())
    if short:
        console.print(
            f"{short:,} of {data.statistics['users']:,} users have fewer than 3 actions: they"
            " train, but are not held out"
        )
