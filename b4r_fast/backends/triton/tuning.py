"""B4R_FAST_AUTOTUNE=1: tiles by their time on the GPU that is there, not from the table.

The first call of an op that asks for a tile, for its kernel, dtype and number of columns, times the
table's and its neighbours: half or twice the rows, columns or warps, or the other limit of
registers. It goes on from the fastest until no neighbour is faster, and keeps that for the process,
for all numbers of tokens. What was compiled once Triton finds on disk again.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator

import torch
import triton.testing
from triton.errors import TritonError

from .tiles import ASKED, TUNED, Form, Tile

LIMITS = {"rows": (16, 256), "columns": (16, 128), "warps": (2, 16)}

_one_at_a_time = threading.RLock()  # as backward runs in threads of its own


def neighbours(tile: Tile) -> Iterator[Tile]:
    for name, (least, most) in LIMITS.items():
        size = getattr(tile, name)  # 0 columns are all there are
        yield from (
            tile._replace(**{name: other})
            for other in (size // 2, 2 * size)
            if least <= other <= most
        )
    yield tile._replace(all_registers=not tile.all_registers)


def milliseconds(call: Callable[[], object]) -> float:
    return triton.testing.do_bench(call, warmup=5, rep=20, return_mode="median")


def _time(form: Form, tile: Tile, call: Callable[[], object]) -> float:
    TUNED[form] = tile
    try:
        return milliseconds(call)
    except (TritonError, RuntimeError):  # it does not fit there
        return float("inf")


def tune(form: Form, table: Tile, call: Callable[[], object]) -> None:
    """Leaves the fastest tile found for what call launches in TUNED."""
    times = {table: _time(form, table, call)}
    best = table
    while new := [tile for tile in neighbours(best) if tile not in times]:
        times |= {tile: _time(form, tile, call) for tile in new}
        fastest = min(times, key=times.__getitem__)  # the table's where several are
        if fastest == best:
            break
        best = fastest
    TUNED[form] = best
    said = (
        f"{form.kernel}, {form.columns} columns of"
        f" {form.dtype}{'' if form.aligned else ', unaligned'}"
    )
    print(
        f"b4r_fast: {said}: {best}, {times[best]:.4f} ms; the table's {table}, {times[table]:.4f}"
        " ms",
        file=sys.stderr,
        flush=True,
    )


def tuned(operator: Callable) -> Callable:
    """The operator, which must not change its arguments, with the tiles that it asks for tuned when
    it first asks.
    """

    @functools.wraps(operator)
    def run(*args):
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return operator(*args)
        asked: dict[Form, Tile] = {}
        token = ASKED.set(asked)
        try:
            result = operator(*args)
        finally:
            ASKED.reset(token)
        with _one_at_a_time:
            new = {form: tile for form, tile in asked.items() if form not in TUNED}
            for form, tile in new.items():
                tune(form, tile, lambda: operator(*args))
        return operator(*args) if new else result

    return run
