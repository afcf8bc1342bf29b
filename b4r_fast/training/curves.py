"""The picture of a run: its losses and validation NDCG@10 over the steps."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import atomic_write
from .folder import CURVES
from .module import HITS, MINUTES, MONITOR, VALIDATION_LOSSES


def read_metrics(run: Path) -> dict[str, np.ndarray]:
    """The training loss, "loss", and what is found at validation, with the "minutes" until then, by
    the names that they are logged under: each (points, 2) of step and value; where a resumed run
    repeats a step, the later value counts. Raises InputError for a file that holds something else.
    """
    series: dict[str, dict[int, float]] = {
        name: {} for name in ("loss", MONITOR, HITS, MINUTES, *VALIDATION_LOSSES.values())
    }
    for file in sorted(run.glob("logs/version_*/metrics.csv"), key=_version):
        try:
            _read_into(series, file)
        except (ValueError, LookupError, TypeError, csv.Error) as error:
            raise InputError(
                f"{file}: not readable as metrics ({error}); move it away, and {run / CURVES} will"
                " lack what it held"
            ) from None
    return {
        name: np.array(sorted(points.items())).reshape(-1, 2) for name, points in series.items()
    }


def _version(file: Path) -> tuple[int, str]:
    """Of a run's starts, the order; a folder that somebody has renamed comes first."""
    name = file.parent.name.removeprefix("version_")
    return (int(name) if name.isdecimal() else -1, name)


def _read_into(series: dict[str, dict[int, float]], file: Path) -> None:
    with open(file, newline="") as rows:
        for row in csv.DictReader(rows):
            for name, points in series.items():
                if row.get(name):
                    points[int(row["step"])] = float(row[name])


def draw_curves(run: Path) -> Path:
    """Write curves.png into the run folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metrics = read_metrics(run)
    loss, validation = metrics["loss"], metrics[MONITOR]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    left.plot(loss[:, 0], loss[:, 1], color="#9ecae1", linewidth=1, label="step")
    window = max(1, len(loss) // 40)
    if len(loss) >= window > 1:
        smooth = np.convolve(loss[:, 1], np.ones(window) / window, mode="valid")
        left.plot(
            loss[window - 1 :, 0],
            smooth,
            color="#08519c",
            linewidth=2,
            label=f"mean of {window} points",
        )
    for (name, logged), color in zip(VALIDATION_LOSSES.items(), ("#d94801", "#fdae6b")):
        points = metrics[logged]
        if len(points):
            left.plot(points[:, 0], points[:, 1], color=color, label=f"validation, {name}")
    left.set(xlabel="step", ylabel="loss")
    left.legend(frameon=False)
    right.plot(
        validation[:, 0], validation[:, 1], color="#08519c", linewidth=2, marker="o", markersize=3
    )
    if len(validation):
        step, value = validation[validation[:, 1].argmax()]
        right.axvline(step, color="#bbbbbb", linestyle="--", linewidth=1, zorder=0)
        right.annotate(
            f"best: {value:.4f}",
            (step, value),
            xytext=(-6, 8),
            textcoords="offset points",
            ha="right",
        )
        right.margins(y=0.15)
    right.set(xlabel="step", ylabel="validation NDCG@10, all items ranked")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#eeeeee")
    path = run / CURVES
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    pyplot.close(figure)
    return path
