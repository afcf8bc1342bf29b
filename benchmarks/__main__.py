"""python -m benchmarks: measure b4r_fast beside its peers, and write results.json, results.md and
results.png.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from pathlib import Path

import torch

from . import chart, machine, report, suite

# Which comparisons a device has.
DEVICES = {"cpu": lambda comparisons: comparisons, "cuda": suite.on_gpu}


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--full",
        action="store_true",
        help="every peer with both settings of malloc, and more rounds: hours, not 10 minutes",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="the folder to write (results)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="of every contender (torch's default)",
    )
    parser.add_argument(
        "--device",
        choices=tuple(DEVICES),
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to measure (cuda where torch finds a GPU)",
    )
    parser.add_argument(
        "--only", metavar="TEXT", help="comparisons whose kind, work or title holds this text"
    )
    parser.add_argument("--peers", metavar="NAME", nargs="+", help="these peers alone")
    parser.add_argument(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="of rounds for each peer; 0 for as few rounds as there may be",
    )
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="measure nothing: write table and picture of the results in --out again",
    )
    return parser.parse_args(argv)


def chosen(
    comparisons: list[suite.Comparison], only: str | None, peers: list[str] | None
) -> list[suite.Comparison]:
    kept = [
        c
        for c in comparisons
        if not only or any(only in text for text in (c.kind, c.work, c.title))
    ]
    if peers is None:
        return kept
    kept = [
        suite.Comparison(
            c.kind,
            c.work,
            {name: malloc for name, malloc in c.peers.items() if name in peers},
            c.case,
        )
        for c in kept
    ]
    return [c for c in kept if c.peers]


def main(argv: list[str]) -> int:
    options = arguments(argv)
    if options.redraw:
        results = report.read(options.out)
    else:
        comparisons = DEVICES[options.device](suite.full() if options.full else suite.quick())
        comparisons = chosen(comparisons, options.only, options.peers)
        if not comparisons:
            print("error: no comparison is left", file=sys.stderr)
            return 2
        results = measure(comparisons, options)
    report.write(options.out, results)
    picture = chart.draw(results, options.out / "results.png")
    print(f"{options.out / 'results.md'}, {options.out / 'results.json'}, {picture}")
    return 0


def measure(comparisons: list[suite.Comparison], options: argparse.Namespace) -> dict:
    torch.set_num_threads(options.threads)
    results = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "effort": "full" if options.full else "quick",
        "device": options.device,
        "limits": machine.how_measured(options.device),
        "machine": machine.description(options.device),
        "rows": [],
    }
    print(report.machine_line(results["machine"]))
    if warning := machine.disturbance(results["machine"]):
        print(warning)
    effort = suite.FULL if options.full else suite.QUICK
    if options.budget is not None:
        effort = suite.Effort(options.budget, least=min(effort.least, 2))
    begin = time.perf_counter()
    for comparison in comparisons:
        print(
            f"{comparison.kind}: {comparison.title} [{time.perf_counter() - begin:.0f} s]",
            flush=True,
        )
        results["rows"] += suite.carry_out(
            comparison,
            effort,
            options.threads,
            lambda line: print(line, flush=True),
            device=options.device,
        )
        report.write(options.out, results)  # what there is so far survives an interruption
    return results


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
