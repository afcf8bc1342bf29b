"""b4r-fast evaluate"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..data import leave_one_out
from ..data.fingerprint import PARTS
from ..errors import InputError
from ..training import RunFile
from ..training.origin import open_data
from .terminal import loading
from .verbatim import say

EXPLANATIONS = {
    "full": "all items ranked, those of the user's history left out",
    "pop100": "ranked among 100 items the user never met, drawn by popularity",
    "uni100": "ranked among 100 items the user never met, drawn uniformly",
}
INCLUDING_SEEN = "all items ranked, those of the user's history too"


def evaluate(
    run: Annotated[
        Path, typer.Argument(help="A run folder of b4r-fast train.", show_default=False)
    ],
    protocol: Annotated[
        str,
        typer.Option(
            help="; ".join(f"[bold]{name}[/]: {EXPLANATIONS[name]}" for name in EXPLANATIONS) + "."
        ),
    ] = "full",
    include_seen: Annotated[
        bool,
        typer.Option(
            "--include-seen", help="Rank items of the history too, as recommend with this option."
        ),
    ] = False,
    stage: Annotated[str, typer.Option(help="Which held-out item: test or validation.")] = "test",
    data: Annotated[
        Path | None, typer.Option(help="The prepared folder.", show_default="the one trained on")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sampled negatives.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Rank every user's held-out item: HR@1/5/10, NDCG@5/10 and MRR, beside the popularity ranking.

    Ties count against the model. Sampled protocols compare with papers that use them; full is what
    a user sees.
    """
    if protocol not in EXPLANATIONS:
        raise InputError(f"--protocol must be one of {', '.join(EXPLANATIONS)}, got {protocol!r}")
    if include_seen and protocol != "full":
        raise InputError(
            f"--include-seen is of the protocol full; {protocol} ranks every item against negatives"
            " that the user never met"
        )
    if stage not in ("test", "validation"):
        raise InputError(f"--stage must be test or validation, got {stage!r}")
    file = RunFile.read(run)
    with loading("PyTorch"):
        from ..evaluation import Ranker, metrics_from_ranks, rank_held_out
        from ..evaluation.metrics import NEVER
        from ..model import BERT4Rec
    model = BERT4Rec.from_pretrained(run)
    # Data that is named may have other users and actions, so long as the items are the model's.
    prepared = open_data(run, file, data, PARTS if data is None else ("items",))
    split = leave_one_out(prepared.sequences)
    rankers = {
        "BERT4Rec": Ranker.of_model(model),
        "popularity": Ranker.by_popularity(split.train.counts()),
    }
    results = {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("ranking", total=len(rankers) * len(split.users))
        for name, ranker in rankers.items():
            ranks = rank_held_out(
                ranker,
                split,
                stage,
                protocol,
                exclude_seen=not include_seen,
                seed=seed,
                progress=lambda users: bar.advance(task, users),
            )
            results[name] = metrics_from_ranks(ranks)
    if as_json:
        print(
            json.dumps(
                {
                    "run": str(run),
                    "stage": stage,
                    "protocol": protocol,
                    "include_seen": include_seen,
                    "users": len(split.users),
                    "results": results,
                }
            )
        )
        return
    explanation = INCLUDING_SEEN if include_seen else EXPLANATIONS[protocol]
    table = Table(
        title=f"{stage} items of {len(split.users):,} users, {explanation}",
        title_justify="left",
    )
    table.add_column("")
    for metric in results["BERT4Rec"]:
        table.add_column(metric, justify="right")
    for name, metrics in results.items():
        table.add_row(name, *(f"{value:.4f}" for value in metrics.values()))
    ratios = (
        f"{ours / theirs:.2f}" if theirs else "-"
        for ours, theirs in zip(*(metrics.values() for metrics in results.values()))
    )
    table.add_row("ratio", *ratios, style="dim")
    Console().print(table)
    if repeats := int((ranks == NEVER).sum()):  # of either ranker
        say(
            console,
            f"{repeats:,} of the {len(split.users):,} items are in the user's history: they are"
            " never recommended, and count as missed; --include-seen ranks and recommends them",
        )
