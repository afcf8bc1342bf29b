"""The results as JSON and as a Markdown table."""

from __future__ import annotations

import json
from pathlib import Path

from . import goals, machine
from .measure import whole

KINDS = {
    "training": "Training step: forward, backward, optimizer",
    "inference": "Recommend 10 items to each user",
    "op": "Ops",
}


def write(folder: Path, results: dict) -> None:
    """results: {"machine": ..., "measured": ..., "rows": [...]}; results.json and results.md in the
    folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(markdown(results))


def read(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def markdown(results: dict) -> str:
    text = ["# Benchmarks", "", *_preamble(results)]
    for kind, heading in KINDS.items():
        rows = [row for row in results["rows"] if row["kind"] == kind]
        if rows:
            text += ["", f"## {heading}", *_tables(rows)]
    if device_of(results) == "cpu":  # what the goals are about
        text += ["", "## Goals", "", *goals.table(results["rows"])]
    return "\n".join(text) + "\n"


def device_of(results: dict) -> str:
    return results.get("device", "cpu")  # of older results


def machine_line(found: dict) -> str:
    memory = found["memory_bytes"] / 2**30
    gpu = f"{found['gpu']}; " if found.get("gpu") else ""
    return (
        f"{gpu}{found['cpu']}; {found['cores']} cores, {found['threads']} threads used,"
        f" {memory:.0f} GiB;"
        f" kernels for {found['instruction_set']}, torch {found['torch']} for"
        f" {found['torch_instruction_set']};"
        f" b4r_fast {found['b4r_fast']}, Python {found['python']}, {found['system']}"
    )


PRECISION = {"cpu": "fp32", "cuda": "Steps in fp32 without TF32, ops in bf16"}
MEMORY = {
    "cpu": [
        "Memory: the peak of one step above what was held before it (parameters, optimizer"
        " state, batch); in all: of the process.",
        "Tuned malloc: MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ raised, beside b4r_fast"
        " as it comes.",
    ],
    "cuda": [
        "Memory: the peak of what torch allocates on the GPU in one step, above what was held"
        " before it (parameters, optimizer state,",
        "batch); in all: with that. FlashAttention and varlen_attn take no fp32, hence the bf16.",
    ],
}


def _preamble(results: dict) -> list[str]:
    device = device_of(results)
    return [
        f"{results['date']}, {results['effort']} version. {machine_line(results['machine'])}.",
        "",
        "Each peer and b4r_fast took turns; a time is the median of its rounds, and *times ours*"
        " the median of the rounds' ratios.",
        f"{PRECISION[device]}, dropout 0.1 unless said.",
        *MEMORY[device],
        "Share of the limit: useful operations of real tokens alone (benchmarks/operations.py),"
        " or bytes, over the machine's rate in the",
        f"same minutes, measured by {results['limits']}.",
        *(["", f"**{warning}**"] if (warning := machine.disturbance(results["machine"])) else []),
    ]


def _tables(rows: list[dict]) -> list[str]:
    text = []
    for title in dict.fromkeys(row["title"] for row in rows):
        group = [row for row in rows if row["title"] == title]
        first = group[0]
        counts = (
            f"{first['sequences']:,} sequences, {first['tokens']:,} tokens, {first['labelled']:,}"
            " of them labelled"
        )
        text += ["", f"### {title}", "", f"{first['data']}; {counts}.{_limit(first)}", ""]
        parts = [
            part
            for part in ("forward", "backward", "optimizer", "both", "step")
            if any(part in row.get("seconds", {}) for row in group)
        ]
        parts = [part for part in parts if part != "both" or "step" not in parts]
        columns = [
            *(f"{part}, ms" for part in parts),
            "times ours",
            "memory, MiB",
            "in all, MiB",
            "rounds",
            "version",
        ]
        text.append("| | malloc | " + " | ".join(columns) + " |")
        text.append("| --- | --- |" + " ---: |" * (len(parts) + 4) + " --- |")
        text += [_line(row, parts) for row in group]
    return text


def _line(row: dict, parts: list[str]) -> str:
    if "error" in row:
        return (
            f"| {row['contender']} | {row.get('malloc', '')} |"
            + " |" * (len(parts) + 4)
            + f" {row['error']} |"
        )
    seconds = row["seconds"]
    times = f"**{row['times_ours'][whole(seconds)]:.2f}**" if "times_ours" in row else ""
    # The contenders of an op share a process.
    total = None if row["kind"] == "op" else row["total_bytes"]
    memory = ["" if size is None else f"{size / 2**20:,.0f}" for size in (row["peak_bytes"], total)]
    cells = [
        row["contender"],
        row["malloc"],
        *(f"{seconds[part] * 1e3:,.1f}" if part in seconds else "" for part in parts),
    ]
    return "| " + " | ".join([*cells, times, *memory, str(row["rounds"]), row["versions"]]) + " |"


def _limit(row: dict) -> str:
    if "limit" not in row:
        return ""
    unit, name = (
        ("GFLOP", "FMA rate, {:.0f} GFLOP/s")
        if row["limit"] == "fma"
        else ("GB", "read bandwidth, {:.1f} GB/s")
    )
    part = whole(row["seconds"])
    return (
        f" Useful: {row['useful'][part] / 1e9:,.3g} {unit}; b4r_fast reaches"
        f" **{row['share_of_limit'][part]:.2f}** of the {name.format(row['limit_rate'])}."
    )
