"""The runs as JSON, a Markdown table and a chart."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from statistics import mean, stdev

from b4r_fast.files import atomic_write

from ..chart import OURS, PEER, QUIET
from ..report import machine_line

COLUMNS = [
    (protocol, metric)
    for protocol in ("full", "pop100", "uni100")
    for metric in ("HR@10", "NDCG@10")
]
PEER_COLOURS = (PEER, "#41ab5d", "#7a0177")


def write(folder: Path, results: dict) -> None:
    """results: machine, date, and runs: each of data, contender, seed, version, curve, test."""
    with atomic_write(folder / "results.json") as file:
        file.write_text(json.dumps(results, indent=1) + "\n")
    with atomic_write(folder / "results.md") as file:
        file.write_text(markdown(results))
    with atomic_write(folder / "results.png") as file:
        draw(results, file)


def groups(runs: list[dict], data: str) -> dict[str, list[dict]]:
    """The runs of a data set by contender, ours first."""
    names = dict.fromkeys(run["contender"] for run in runs if run["data"] == data)
    return {
        name: [run for run in runs if (run["data"], run["contender"]) == (data, name)]
        for name in sorted(names, key=lambda name: name != "b4r_fast")
    }


def markdown(results: dict) -> str:
    text = ["# Accuracy", "", f"{results['date']}. {machine_line(results['machine'])}.", ""]
    text += [
        "Leave-one-out. full: all items ranked, those of the history left out; pop100, uni100:",
        "among 100 items the user never met. Of several seeds the mean and, behind \u00b1, the",
        "standard deviation. Minutes: of training, ours with validation, a peer's without. All are",
        "tested with the weights that were best at validation.",
    ]
    for data in dict.fromkeys(run["data"] for run in results["runs"]):
        heads = [f"{protocol} {metric}" for protocol, metric in COLUMNS]
        text += [
            "",
            f"## {data}",
            "",
            "| | minutes | seeds | " + " | ".join(heads) + " | version |",
        ]
        text += ["| --- |" + " ---: |" * (len(heads) + 2) + " --- |"]
        for name, runs in groups(results["runs"], data).items():
            if "error" in runs[0]:
                text.append(f"| {name} |" + " |" * (len(heads) + 2) + f" {runs[0]['error']} |")
                continue
            minutes = mean(run["curve"][-1]["minutes"] for run in runs)
            cells = [name, f"{minutes:.1f}", str(len(runs))]
            cells += [_spread([run["test"][p][m] for run in runs]) for p, m in COLUMNS]
            text.append("| " + " | ".join([*cells, runs[0]["version"]]) + " |")
    return "\n".join(text) + "\n"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.4f}" + (f" \u00b1 {stdev(values):.4f}" if len(values) > 1 else "")


def draw(results: dict, path: Path) -> None:
    """Validation NDCG@10 by minutes, a line for each run, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sets = list(dict.fromkeys(run["data"] for run in results["runs"]))
    figure, axes = pyplot.subplots(1, len(sets), figsize=(6.4 * len(sets), 4.6), squeeze=False)
    for axis, data in zip(axes[0], sets):
        colours = iter(PEER_COLOURS)
        for name, runs in groups(results["runs"], data).items():
            curves = [run["curve"] for run in runs if run.get("curve")]
            if not curves:
                continue
            colour = OURS if name == "b4r_fast" else next(colours)
            for curve in curves:
                points = [(point["minutes"], point["NDCG@10"]) for point in curve]
                axis.plot(*zip(*points), color=colour, linewidth=1.8, marker="o", markersize=3)
            axis.annotate(name, points[-1], (6, 0), textcoords="offset points", color=colour)
        axis.set_title(data, loc="left", weight="bold")
        axis.set_xlabel("minutes of training, ours with validation")
        axis.set_ylabel("validation NDCG@10, all items ranked")
        axis.set_ylim(bottom=0)
        axis.margins(x=0.16)
        axis.grid(alpha=0.25)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    note = f"{results['date']}. {machine_line(results['machine'])}."
    note = "\n".join(textwrap.wrap(note, 120 * len(sets)))
    figure.text(0.01, 0.01, note, fontsize=6, color=QUIET)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=150, format="png")
    pyplot.close(figure)
