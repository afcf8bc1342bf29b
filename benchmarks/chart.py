"""The results as one picture: how many times longer each peer takes, and what share of the
machine's limit b4r_fast reaches.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from .measure import whole
from .report import PRECISION, device_of, machine_line

OURS, PEER, TEXT, QUIET = "#d95f02", "#08519c", "#222222", "#767676"
NAMES = 3.1  # inches left of the axis, for the names of the peers
COLUMN = 8.2  # inches of a column
LINE = 0.27  # inches of a line


def draw(results: dict, path: Path) -> Path:
    """Write the picture as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = _groups(results["rows"])
    columns = [
        [group for group in groups if (group[0]["kind"] == "op") == is_op]
        for is_op in (False, True)
    ]
    columns = [column for column in columns if column]
    lines = max(sum(len(_peers(group)) + 1.7 for group in column) for column in columns)
    width, height = COLUMN * len(columns), LINE * lines + 1.9
    figure = pyplot.figure(figsize=(width, height))
    all_times = [_times(row) for group in groups for row in group if "times_ours" in row]
    limits = (
        min(0.7, *(time * 0.7 for time in all_times), 1),
        max(2.0, *(time * 5 for time in all_times), 1),
    )
    for i, column in enumerate(columns):
        left, bottom = (COLUMN * i + NAMES) / width, 0.95 / height
        axis = figure.add_axes(
            (left, bottom, (COLUMN - NAMES - 0.2) / width, LINE * lines / height)
        )
        _column(axis, column, lines, limits)
    figure.text(
        0.15 / width,
        1 - 0.2 / height,
        "How many times longer than b4r_fast",
        fontsize=15,
        weight="bold",
        color=TEXT,
        va="top",
    )
    handles = [
        pyplot.Line2D([], [], color=OURS, linewidth=2),
        pyplot.Line2D([], [], marker="o", color=PEER, markersize=7),
        pyplot.Line2D(
            [], [], marker="D", linestyle="", color=PEER, markerfacecolor="white", markersize=6
        ),
    ]
    names = ["b4r_fast", "peer", "peer, with malloc tuned"]
    place = {"loc": "upper left", "bbox_to_anchor": (0.05 / width, 1 - 0.45 / height)}
    figure.legend(handles, names, ncols=3, frameon=False, fontsize=10, **place)
    note = (
        f"{PRECISION[device_of(results)]}, medians of interleaved rounds, {results['date']}."
        f" {machine_line(results['machine'])}."
    )
    note = "\n".join(textwrap.wrap(note, 105 * len(columns)))
    figure.text(0.15 / width, 0.12 / height, note, fontsize=8, color=QUIET, va="bottom")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return path


def _groups(rows: list[dict]) -> list[list[dict]]:
    keys = dict.fromkeys((row["kind"], row["title"]) for row in rows)
    groups = [[row for row in rows if (row["kind"], row["title"]) == key] for key in keys]
    return [group for group in groups if "seconds" in group[0]]


def _peers(group: list[dict]) -> list[str]:
    return list(dict.fromkeys(row["contender"] for row in group if "times_ours" in row))


def _times(row: dict) -> float:
    return row["times_ours"][whole(row["seconds"])]


def _column(axis, groups: list[list[dict]], lines: float, limits: tuple[float, float]) -> None:
    """A heading for each group, a line below it for each peer. The axis is logarithmic: 2x and 0.5x
    are equally far from 1x.
    """
    transform, (low, high) = axis.get_yaxis_transform(), limits
    place = 0.0
    for group in groups:
        heading = {"training": "Training step, ", "inference": "Recommend, ", "op": ""}[
            group[0]["kind"]
        ] + group[0]["title"]
        axis.text(
            -NAMES / (COLUMN - NAMES - 0.2) + 0.03,
            place,
            heading,
            transform=transform,
            weight="bold",
            va="center",
            color=TEXT,
        )
        axis.text(
            1,
            place,
            _ours(group[0]),
            transform=transform,
            va="center",
            ha="right",
            color=OURS,
            fontsize=9,
        )
        for name in _peers(group):
            place += 1
            axis.text(
                -0.01,
                place,
                name,
                transform=transform,
                va="center",
                ha="right",
                fontsize=9.5,
                color=TEXT,
            )
            _peer(
                axis,
                place,
                [row for row in group if row["contender"] == name and "times_ours" in row],
            )
        axis.plot(
            (1, 1),
            (place - len(_peers(group)) + 0.5, place + 0.5),
            color=OURS,
            linewidth=2,
            solid_capstyle="butt",
        )
        place += 1.7
    axis.set_ylim(lines - 0.6, -0.6)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.set_yticks([])
    ticks = [
        tick
        for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
        if low < tick < high
    ]
    axis.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axis.minorticks_off()
    axis.tick_params(axis="x", length=0, colors=QUIET)
    axis.grid(axis="x", color="#e8e8e8", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in axis.spines.values():
        side.set_visible(False)


def _peer(axis, place: float, rows: list[dict]) -> None:
    """A line from 1x to the peer, a diamond where it stands with malloc tuned, and the time that it
    takes as it comes.
    """
    default = [row for row in rows if row["malloc"] == "default"]
    for row in rows:
        if row in default:
            axis.plot((1, _times(row)), (place, place), color=PEER, linewidth=1.5, zorder=2)
            axis.plot(_times(row), place, marker="o", color=PEER, markersize=7, zorder=3)
        else:
            axis.plot(
                _times(row),
                place,
                marker="D",
                color=PEER,
                markerfacecolor="white",
                markersize=6,
                zorder=4,
            )
    shown = (default or rows)[0]
    label = f"{_multiple(_times(shown))}  {_duration(shown['seconds'][whole(shown['seconds'])])}"
    label += "".join(f"  (tuned {_multiple(_times(row))})" for row in rows if row is not shown)
    end = max(1.0, *(_times(row) for row in rows), 0)
    axis.annotate(
        label,
        (end, place),
        (8, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=QUIET,
    )


def _ours(row: dict) -> str:
    part = whole(row["seconds"])
    limit = "FMA rate" if row["limit"] == "fma" else "read bandwidth"
    return (
        f"b4r_fast {_duration(row['seconds'][part])}, {row['share_of_limit'][part]:.2f} of {limit}"
    )


def _multiple(times: float) -> str:
    return f"{times:.2g}x" if times < 9.95 else f"{times:.0f}x"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"
