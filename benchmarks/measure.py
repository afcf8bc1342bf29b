"""Two contenders in turn, so that whatever else the machine does hits both; what counts is the
median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

Seconds = dict[str, float]


def now() -> float:
    """Seconds on the clock, once a GPU in use has done what it was asked to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def interleave(
    ours: Callable[[], Seconds], theirs: Callable[[], Seconds], *, budget: float, least: int
) -> list[tuple[Seconds, Seconds]]:
    """Rounds of both, each first in every other round, until the budget of seconds would be passed;
    at least so many.
    """
    rounds: list[tuple[Seconds, Seconds]] = []
    begin = time.perf_counter()
    while len(rounds) < least or (time.perf_counter() - begin) * (1 + 1 / len(rounds)) < budget:
        if len(rounds) % 2:
            second, first = theirs(), ours()
        else:
            first, second = ours(), theirs()
        rounds.append((with_sums(first), with_sums(second)))
    return rounds


def with_sums(seconds: Seconds) -> Seconds:
    """Adds "both", forward and backward, and "step", all parts, where there is more than one."""
    if "backward" in seconds:
        seconds = seconds | {"both": seconds["forward"] + seconds["backward"]}
    if "optimizer" in seconds:
        seconds = seconds | {"step": seconds["both"] + seconds["optimizer"]}
    return seconds


def medians(runs: list[Seconds]) -> Seconds:
    return {part: statistics.median(run[part] for run in runs) for part in runs[0]}


def ratios(rounds: list[tuple[Seconds, Seconds]]) -> Seconds:
    """How many times longer theirs takes."""
    return medians(
        [
            {part: theirs[part] / ours[part] for part in ours if part in theirs}
            for ours, theirs in rounds
        ]
    )


def whole(seconds: Seconds) -> str:
    """The part that stands for all."""
    return next(part for part in ("step", "both", "forward") if part in seconds)
