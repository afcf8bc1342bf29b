"""Runs lanes, which prove the kernels for GPUs without a GPU: make test-kernels.

    python -m tests.lanes                       # all of them, whole; what they prove goes into
                                                tests/backends/proven.json
    python -m tests.lanes cuda-fibers           # that one; triton-compile: all that begin so
    python -m tests.lanes --sample COMMIT       # as CI: whole where something changed since the
                                                record, elsewhere a tenth

With --sample the record stays as it is and must be what comes out. What runs whole has all workers;
of the tenths each worker runs one, as some are a single test, and the longest begin first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec

from rich.console import Console
from rich.table import Table

from .. import ROOT
from . import LANES, Lane, record
from .record import Outcome

BUILT = ROOT / "build" / "lanes"  # pytest's reports, and a record that CI made anew


def why_not(lane: Lane) -> str | None:
    """What keeps a lane from running here."""
    for package in {"triton", "ttsem"} & {*lane.tools}:
        if find_spec(package) is None:
            return f"{package} is not installed"
    if "nvcc" in lane.tools and not [*(ROOT / "b4r_fast" / "backends" / "cuda").glob("_cuda.*.so")]:
        return "the package was built without nvcc"
    return None


def run(lane: Lane, workers: int) -> Outcome:
    """All of its tests, which print as they go."""
    return _pytest(lane, "-n", str(workers), "--dist", "worksteal")


def run_tenth(lane: Lane, commit: str) -> Outcome:
    """The tenth of its tests that the commit chooses, in one process."""
    return _pytest(lane, "--tenth-of", commit, quiet=True)


def _pytest(lane: Lane, *options: str, quiet: bool = False) -> Outcome:
    """quiet: print what it says when it has ended."""
    report = BUILT / f"{lane.name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "not gpu", "--on", lane.on]
    command += [f"--junitxml={report}", "--disable-warnings", *options, *lane.tests]
    begun = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE if quiet else None,
        text=True,
    )
    if quiet:
        print(f"\n== {lane.name}: a tenth, as nothing changed\n{done.stdout}", end="", flush=True)
    outcome = Outcome.read(report) if report.exists() else Outcome(failed=["pytest itself"])
    if done.returncode and not outcome.failed:
        outcome.failed.append(f"pytest ended with {done.returncode}")
    outcome.seconds = time.monotonic() - begun
    return outcome


@dataclass
class Row:
    """Of the table. problem: why the run fails, if it does."""

    lane: str
    state: str
    cases: str
    seconds: float
    what: str
    problem: str = ""


def of(count: int, what: str) -> str:
    return f"{count:,} {what}" if count else ""


def summary(found: dict[str, dict]) -> str:
    """The most registers and shared memory; how many of the rest."""

    def numbers(name: str) -> list[int]:
        return [what[name] for what in found.values() if name in what]

    parts = [
        of(sum(numbers("kernels")), "kernels"),
        of(sum("seen" in what for what in found.values()), "faults seen"),
    ]
    for name, unit in (("most_registers", "registers"), ("most_shared", "bytes shared")):
        parts.append(f"at most {max(numbers(name)):,} {unit}" if numbers(name) else "")
    parts.append(f"{sum(numbers('spills')):,} bytes spilled" if numbers("spills") else "")
    return ", ".join(part for part in parts if part)


def holds(lane: Lane, proofs: dict[str, record.Proof]) -> bool:
    """Whether the record is of what lies here."""
    return lane.name in proofs and proofs[lane.name]["fingerprint"] == record.fingerprint(lane)


def prove(lane: Lane, proofs: dict[str, record.Proof], workers: int, commit: str | None) -> Row:
    """Runs a lane whole. proofs: the record, in which what comes out replaces what was there."""
    if (reason := why_not(lane)) is not None:
        problem = "" if commit is None else f"left out: {reason}"
        return Row(lane.name, "left out", "0", 0, reason, problem)
    print(f"\n== {lane.name}: {lane.proves}", flush=True)
    # Before it runs: who edits meanwhile has not proven that.
    fingerprint = record.fingerprint(lane)
    recorded, outcome = proofs.get(lane.name), run(lane, workers)
    row = row_of(lane, "run", outcome, outcome.cases)
    if not row.problem:
        proofs[lane.name] = outcome.proof(fingerprint)
        if commit is not None:
            row.problem = compare(lane, outcome, recorded, whole=True)
    return row


def prove_tenth(lane: Lane, proof: record.Proof, commit: str) -> Row:
    """Runs a tenth of a lane whose record holds."""
    if (reason := why_not(lane)) is not None:
        return Row(lane.name, "proven", "0", 0, reason)
    outcome = run_tenth(lane, commit)
    row = row_of(lane, "proven", outcome, sum(proof["passed"].values()))
    if not row.problem:
        row.problem = compare(lane, outcome, proof, whole=False)
    return row


def row_of(lane: Lane, state: str, outcome: Outcome, total: int) -> Row:
    problem = ""
    if outcome.failed:
        problem = f"{len(outcome.failed)} failed: {', '.join(outcome.failed[:3])}"
    elif outcome.skipped or not outcome.cases:
        skipped = ", ".join(outcome.skipped[:3])
        problem = f"{len(outcome.skipped)} skipped here, so not proven: {skipped}"
    cases = f"{outcome.cases:,} of {total:,}"
    return Row(lane.name, state, cases, outcome.seconds, summary(outcome.found), problem)


def compare(lane: Lane, outcome: Outcome, recorded: record.Proof | None, *, whole: bool) -> str:
    """Prints what is not as recorded. What is wrong with the record, or nothing."""
    lines = record.differences(
        outcome, recorded or {"fingerprint": "", "passed": {}, "found": {}}, whole=whole
    )
    print(*lines, sep="\n", flush=True)
    if lines:
        return (
            f"not as recorded: {len(lines)} differences; make test-kernels LANES={lane.name}"
            " renews the record"
        )
    if whole:
        print(
            "as recorded, of other sources: commit build/lanes/proven.json as the record, and"
            " the next run takes a tenth",
            flush=True,
        )
    return ""


def show(rows: list[Row]) -> None:
    table = Table(
        "lane",
        "proven or run",
        "cases",
        "seconds",
        "what came out",
        title="Kernels for GPUs, without a GPU",
    )
    for row in rows:
        table.add_row(
            row.lane,
            row.state,
            row.cases,
            f"{row.seconds:.0f}",
            row.problem or row.what,
            style="red" if row.problem else "",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def users_row() -> list[Row]:
    """Of make test, if it ran here before."""
    report = BUILT.parent / "test.xml"
    if not report.exists():
        return []
    outcome = Outcome.read(report)
    problem = f"{len(outcome.failed)} failed" if outcome.failed else ""
    return [
        Row(
            "make test",
            "run",
            f"{outcome.cases:,} of {outcome.cases:,}",
            outcome.seconds,
            "",
            problem,
        )
    ]


def chosen(beginnings: Sequence[str]) -> list[Lane]:
    """The lanes whose names begin so; without any, all."""
    return [lane for lane in LANES.values() if lane.name.startswith(tuple(beginnings) or "")]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.lanes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lanes", nargs="*", metavar="LANE", help=", ".join(LANES))
    parser.add_argument("--sample", metavar="COMMIT", help="its hash")
    parser.add_argument(
        "--workers", type=int, default=2, help="processes that run tests at once (%(default)s)"
    )
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.lanes if not chosen([name])]:
        parser.error(f"no lane is called {', '.join(unknown)}; there are {', '.join(LANES)}")
    BUILT.mkdir(parents=True, exist_ok=True)
    proofs, lanes = record.read(record.RECORD), chosen(asked.lanes)
    proven = [lane for lane in lanes if asked.sample and holds(lane, proofs)]
    proven.sort(key=lambda lane: -lane.seconds)
    with ThreadPoolExecutor(asked.workers) as pool:
        tenths = pool.map(lambda lane: prove_tenth(lane, proofs[lane.name], asked.sample), proven)
        rows = {row.lane: row for row in tenths}
    for lane in lanes:
        if lane not in proven:
            rows[lane.name] = prove(lane, proofs, asked.workers, asked.sample)
            record.write(
                {name: proofs[name] for name in LANES if name in proofs},
                BUILT / "proven.json" if asked.sample else record.RECORD,
            )
    shown = [*(users_row() if asked.sample else []), *(rows[lane.name] for lane in lanes)]
    show(shown)
    return int(any(row.problem for row in shown))


if __name__ == "__main__":
    sys.exit(main())
