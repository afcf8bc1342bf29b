"""The picture of a run: loss and validation NDCG@10 over the steps."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ..files import atomic_write
from .module import MONITOR


def read_metrics(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Loss and validation points, each (points, 2) of step and value; where a resumed run repeats a
    step, the later value counts.
    """
    series: dict[str, dict[int, float]] = {"loss": {}, MONITOR: {}}
    for file in sorted(
        run.glob("logs/version_*/metrics.csv"),
        key=lambda path: int(path.parent.name.removeprefix("version_")),
    ):
        with open(file, newline="") as rows:
            for row in csv.DictReader(rows):
                for name, points in series.items():
                    if row.get(name):
                        points[int(row["step"])] = float(row[name])
    loss, validation = (
        np.array(sorted(points.items())).reshape(-1, 2) for points in series.values()
    )
    return loss, validation


def draw_curves(run: Path) -> Path:
    """Write curves.png into the run folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    loss, validation = read_metrics(run)
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
    left.set(xlabel="step", ylabel="training loss")
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
    path = run / "curves.png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    pyplot.close(figure)
    return path
