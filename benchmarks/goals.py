"""What the figures must reach, on two threads with real batches, and what they are. Nothing fails
here: it is a table to read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .measure import whole
from .peers import TRAINING

EAGER, COMPILE, HUGGING_FACE = (
    TRAINING[name].title for name in ("eager", "compile", "huggingface")
)
RESTRICTED, EAGER_FULL = (TRAINING[name].title for name in ("replay-restricted", "eager-full"))
UNPADDED = tuple(TRAINING[name].title for name in ("eager-unpadded", "compile-unpadded"))
Rows = list[dict]


@dataclass(frozen=True)
class Goal:
    """figure: from all rows, None where they do not tell. least: what it must reach, None where it
    is only told.
    """

    text: str
    least: float | None
    figure: Callable[[Rows], float | None]

    def line(self, rows: Rows) -> str:
        figure = self.figure(rows)
        told = "not measured" if figure is None else f"{figure:.3g}"
        reached = (
            "" if figure is None or self.least is None else "yes" if figure >= self.least else "no"
        )
        return (
            f"| {self.text} | {'' if self.least is None else f'{self.least:g}'} | {told} |"
            f" {reached} |"
        )


def _find(
    rows: Rows, kind: str, title: str, contender: str, malloc: str = "default"
) -> dict | None:
    wanted = (kind, title, contender, malloc)
    found = (
        row
        for row in rows
        if (row["kind"], row["title"], row["contender"], row.get("malloc")) == wanted
        and "seconds" in row
    )
    return next(found, None)


def faster(
    title: str, *contenders: str, kind: str = "training", malloc: str = "default"
) -> Callable[[Rows], float | None]:
    """How many times longer the fastest of these peers takes."""

    def figure(rows: Rows) -> float | None:
        found = [_find(rows, kind, title, contender, malloc) for contender in contenders]
        return min((row["times_ours"][whole(row["seconds"])] for row in found if row), default=None)

    return figure


def share(title: str, kind: str = "training") -> Callable[[Rows], float | None]:
    def figure(rows: Rows) -> float | None:
        row = _find(rows, kind, title, "b4r_fast")
        return row and row["share_of_limit"][whole(row["seconds"])]

    return figure


def less_memory(title: str, contender: str) -> Callable[[Rows], float | None]:
    def figure(rows: Rows) -> float | None:
        ours, theirs = (_find(rows, "training", title, name) for name in ("b4r_fast", contender))
        return (
            theirs["peak_bytes"] / ours["peak_bytes"]
            if ours and theirs and ours["peak_bytes"] and theirs["peak_bytes"]
            else None
        )

    return figure


def ours_over_ours(title: str, other: str) -> Callable[[Rows], float | None]:
    """Our step of one title over that of another."""

    def figure(rows: Rows) -> float | None:
        one, two = (_find(rows, "training", name, "b4r_fast") for name in (title, other))
        return one["seconds"]["step"] / two["seconds"]["step"] if one and two else None

    return figure


def fits(title: str, gibibytes: float) -> Callable[[Rows], float | None]:
    """How many times our process would fit into so much memory."""

    def figure(rows: Rows) -> float | None:
        row = _find(rows, "training", title, "b4r_fast")
        return gibibytes * 2**30 / row["total_bytes"] if row and row["total_bytes"] else None

    return figure


SAMPLED, MILLION = "Beauty, 1,024 negatives", "1 million items, 1,024 negatives"
GOALS = (
    Goal(
        "ML-1M step: times the better of PyTorch eager and compile",
        8,
        faster("ML-1M", EAGER, COMPILE),
    ),
    Goal(
        "ML-1M step: times the better of those with padding taken out by hand",
        None,
        faster("ML-1M", *UNPADDED),
    ),
    Goal("ML-1M step: times Hugging Face", 14, faster("ML-1M", HUGGING_FACE)),
    Goal("ML-1M step: times RePlay, CE_restricted", 7, faster("ML-1M", RESTRICTED)),
    Goal("ML-1M step: share of the FMA rate", 0.6, share("ML-1M")),
    Goal("Beauty step: times the better of eager and compile", 3, faster("Beauty", EAGER, COMPILE)),
    Goal(
        "Beauty step: the same with their malloc tuned",
        1.8,
        faster("Beauty", EAGER, COMPILE, malloc="tuned"),
    ),
    Goal("Beauty step: times Hugging Face", 40, faster("Beauty", HUGGING_FACE)),
    Goal("Beauty step: eager's memory over ours", 10, less_memory("Beauty", EAGER)),
    Goal(
        "Beauty step, 1,024 negatives: times eager with the full softmax",
        25,
        faster(SAMPLED, EAGER_FULL),
    ),
    Goal(
        "1 million items: the step of 54,542 items over that of a million (1 / 1.3)",
        0.77,
        ours_over_ours(SAMPLED, MILLION),
    ),
    Goal("1 million items: 4 GiB over all memory of the process", 1, fits(MILLION, 4)),
    Goal(
        "d=256 step: times the better of eager and compile",
        2.8,
        faster("d=256, 26,744 items", EAGER, COMPILE),
    ),
    Goal(
        "attention with dropout: times SDPA",
        7,
        faster("attention, dropout, ML-1M", "SDPA, padded", kind="op"),
    ),
    Goal(
        "topk: times addmm + scatter + torch.topk",
        4,
        faster("topk, 256 users, Beauty", "addmm + scatter + torch.topk", kind="op"),
    ),
    Goal(
        "topk, one user, 10 million items: share of the read bandwidth (1 / 1.15)",
        0.87,
        share("topk, one user, 10 M items", "op"),
    ),
)


def table(rows: Rows) -> list[str]:
    """Markdown lines; figures below 1 mean that the peer is faster."""
    return [
        "| goal | at least | measured | reached |",
        "| --- | ---: | ---: | --- |",
        *(goal.line(rows) for goal in GOALS),
    ]
