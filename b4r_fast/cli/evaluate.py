"""b4r-fast evaluate"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..data import leave_one_out
from ..data.fingerprint import PARTS
from ..errors import InputError
from ..training import RunFile
from ..training.origin import items_of, open_data
from .terminal import loading
from .verbatim import say, verbatim

if TYPE_CHECKING:
    import numpy as np

EXPLANATIONS = {
    "full": "all items ranked, those of the user's history left out",
    "pop100": "ranked among 100 items the user never met, drawn by popularity",
    "uni100": "ranked among 100 items the user never met, drawn uniformly",
}
MARGIN = "95 %: \u00b1"
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
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Another run: is the difference more than chance?",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sampled negatives.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Rank every user's held-out item: HR@1/5/10, NDCG@5/10 and MRR, beside the popularity ranking.

    Where the 95 % line says 0.004, other users of the same kind would give that much more or less.
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
        from ..evaluation import Ranker, rank_held_out
        from ..evaluation.metrics import NEVER
        from ..model import BERT4Rec
    model = BERT4Rec.from_pretrained(run)
    # Data that is named may have other users, actions and items.
    prepared = open_data(run, file, data, PARTS if data is None else ())
    numbers = None if data is None else items_of(run, file, prepared)
    split = leave_one_out(prepared.sequences)
    rankers = {
        "BERT4Rec": Ranker.of_model(model, numbers),
        "popularity": Ranker.by_popularity(split.train.counts()),
    }
    if compare is not None:
        theirs = items_of(compare, RunFile.read(compare), prepared)
        # A folder may be called popularity.
        name = f"./{compare}" if str(compare) in rankers else str(compare)
        rankers[name] = Ranker.of_model(BERT4Rec.from_pretrained(compare), theirs)
    ranks = {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("ranking", total=len(rankers) * len(split.users))
        for name, ranker in rankers.items():
            ranks[name] = rank_held_out(
                ranker,
                split,
                stage,
                protocol,
                exclude_seen=not include_seen,
                seed=seed,
                progress=lambda users: bar.advance(task, users),
            )
    if as_json:
        found: dict[str, Any] = {"run": str(run), "stage": stage, "protocol": protocol}
        found |= {"include_seen": include_seen, "users": len(split.users)}
        print(json.dumps(found | outcome(ranks)))
        return
    explanation = INCLUDING_SEEN if include_seen else EXPLANATIONS[protocol]
    Console().print(
        table(f"{stage} items of {len(split.users):,} users, {explanation}", **outcome(ranks))
    )
    if numbers is not None and (unknown := int((numbers == 0).sum())):
        say(
            console,
            f"{unknown:,} of the {len(numbers):,} items of {prepared.folder} are not {run}'s: it"
            " never recommends them, and leaves them out of histories",
        )
    if repeats := int((ranks["popularity"] == NEVER).sum()):
        say(
            console,
            f"{repeats:,} of the {len(split.users):,} items are in the user's history: they are"
            " never recommended, and count as missed; --include-seen ranks and recommends them",
        )


def outcome(ranks: dict[str, np.ndarray]) -> dict[str, dict[str, dict]]:
    """results: the metrics of each ranker. spread: of ours. lead: of ours over another run's, where
    there is one.
    """
    from ..evaluation import metrics_from_ranks, spread

    found: dict[str, dict[str, dict]] = {
        "results": {name: metrics_from_ranks(of_users) for name, of_users in ranks.items()}
    }
    ours, _, *others = ranks.values()
    found["spread"] = {metric: asdict(of_it) for metric, of_it in spread(ours).items()}
    for other in others:
        found["lead"] = {metric: asdict(of_it) for metric, of_it in spread(ours, other).items()}
    return found


def table(title: str, results: dict, spread: dict, lead: dict | None = None) -> Table:
    ours, popularity, *others = results.values()
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for metric in ours:
        table.add_column(metric, justify="right")

    def add(name: str, values: Iterable[float | None], form: str = ".4f", style: str = "") -> None:
        texts = ("-" if value is None else f"{value:{form}}" for value in values)
        table.add_row(verbatim(name), *texts, style=style)

    add("BERT4Rec", ours.values())
    add(MARGIN, (margin(of_metric) for of_metric in spread.values()), style="dim")
    add("popularity", popularity.values())
    ratios = (ours[m] / theirs if theirs else None for m, theirs in popularity.items())
    add("ratio", ratios, ".2f", "dim")
    if lead is not None:
        table.add_section()
        add([*results][-1], others[0].values())
        add("our lead", (ours[metric] - others[0][metric] for metric in ours), "+.4f")
        add(MARGIN, (margin(of_metric) for of_metric in lead.values()), style="dim")
        add("by chance", (of_metric["p"] for of_metric in lead.values()), ".3f", "dim")
    return table


def margin(spread: dict[str, float]) -> float:
    return (spread["high"] - spread["low"]) / 2
