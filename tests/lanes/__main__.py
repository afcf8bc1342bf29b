"""Runs lanes, which prove the kernels for GPUs without a GPU: make test-kernels.

    python -m tests.lanes                       # all of them, whole; what they prove goes into
                                                tests/backends/proven.json
    python -m tests.lanes cuda-fibers           # that one; triton-compile: all that begin so
    python -m tests.lanes --sample COMMIT       # as CI: whole where something changed since the
                                                record, elsewhere a tenth

With --sample the record stays as it is and must be what comes out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
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


def run(lane: Lane, workers: int, commit: str | None) -> Outcome:
    """commit: take the tenth of the tests that it chooses, else all."""
    report = BUILT / f"{lane.name}.xml"
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "not gpu",
        "--on",
        lane.on,
        "-n",
        str(workers),
        f"--junitxml={report}",
    ]
    command += [
        "--dist",
        "worksteal",
        "--disable-warnings",
        *(["--tenth-of", commit] if commit else []),
        *lane.tests,
    ]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
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


def prove(lane: Lane, proofs: dict[str, record.Proof], workers: int, commit: str | None) -> Row:
    """Runs a lane. proofs: the record, in which what has come out replaces what was there."""
    fingerprint, recorded = record.fingerprint(lane), proofs.get(lane.name)
    proven = commit is not None and recorded is not None and recorded["fingerprint"] == fingerprint
    if (reason := why_not(lane)) is not None:
        return Row(
            lane.name,
            "proven" if proven else "left out",
            "0",
            0,
            reason,
            "" if proven or commit is None else f"left out: {reason}",
        )
    print(
        f"\n== {lane.name}: {lane.proves}{'; nothing changed, so a tenth of it' if proven else ''}",
        flush=True,
    )
    outcome = run(lane, workers, commit if proven else None)
    total = sum(recorded["passed"].values()) if proven and recorded else outcome.cases
    row = Row(
        lane.name,
        "proven" if proven else "run",
        f"{outcome.cases:,} of {total:,}",
        outcome.seconds,
        summary(outcome.found),
    )
    if outcome.failed:
        row.problem = f"{len(outcome.failed)} failed: {', '.join(outcome.failed[:3])}"
    elif outcome.skipped or not outcome.cases:
        row.problem = (
            f"{len(outcome.skipped)} skipped here, so not proven: {', '.join(outcome.skipped[:3])}"
        )
    elif not proven:
        proofs[lane.name] = outcome.proof(fingerprint)
    if commit is not None and not row.problem:
        row.problem = compare(lane, outcome, recorded, whole=not proven)
    return row


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
    report = ROOT / "build" / "test.xml"
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
    proofs, rows = record.read(record.RECORD), users_row() if asked.sample else []
    for lane in chosen(asked.lanes):
        rows.append(prove(lane, proofs, asked.workers, asked.sample))
        record.write(
            {name: proofs[name] for name in LANES if name in proofs},
            BUILT / "proven.json" if asked.sample else record.RECORD,
        )
    show(rows)
    return int(any(row.problem for row in rows))


if __name__ == "__main__":
    sys.exit(main())
