"""python -m benchmarks.accuracy: train our presets with several seeds, and peers on the same split
in as many minutes on the same cores; write results.json, results.md and results.png.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from b4r_fast.data import PreparedData, leave_one_out
from b4r_fast.errors import InputError
from b4r_fast.evaluation import PROTOCOLS, Ranker, metrics_from_ranks, rank_held_out
from b4r_fast.files import atomic_write
from b4r_fast.model import BERT4Rec
from b4r_fast.training.curves import read_metrics
from b4r_fast.training.module import HITS, MINUTES, MONITOR
from b4r_fast.training.settings import PRESETS, RunFile
from b4r_fast.version import VERSION

from .. import machine
from ..peers.install import python_of
from ..processes import CHECKOUT
from . import report
from .contender import PACKAGES

PRESET_OF = {"ml-1m": "best-ml-1m"}
MASK_PROB = {"ml-1m": 0.2}  # a peer's, from the paper
VALIDATIONS = 12  # of a run of a peer


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument(
        "--data",
        nargs="+",
        choices=tuple(PRESET_OF),
        default=[*PRESET_OF],
        help="data sets (all)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("data"),
        help="where `b4r-fast prepare NAME --out FOLDER/NAME` has prepared them (data)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of our preset (3)")
    parser.add_argument("--minutes", type=float, help="of every run (those of our preset)")
    parser.add_argument(
        "--peers", nargs="*", choices=tuple(PACKAGES), default=[*PACKAGES], help="one run of each"
    )
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="of every run (torch's)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/accuracy"),
        help="the folder to write; what is done there already is not done again (results/accuracy)",
    )
    return parser.parse_args(argv)


def minutes_of(name: str, options: argparse.Namespace) -> float:
    preset = PRESETS[PRESET_OF[name]].max_minutes
    return preset if options.minutes is None else options.minutes  # type: ignore[return-value]


def ours(run: Path, data: Path, name: str, options: argparse.Namespace, seed: int) -> dict:
    """A run of our preset, which goes on where it was interrupted."""
    command = [sys.executable, "-m", "b4r_fast", "train", data, "--out", run]
    if (run / RunFile.NAME).exists():
        command.append("--resume")
    else:
        command += ["--preset", PRESET_OF[name], "--seed", seed, "--threads", options.threads]
        command += ["--max-minutes", minutes_of(name, options)]
    on_the_cpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([str(part) for part in command], check=True, env=on_the_cpu)
    split = leave_one_out(PreparedData.open(data).sequences)
    ranker = Ranker.of_model(BERT4Rec.from_pretrained(run))
    metrics = read_metrics(run)
    minutes, ndcg, hits = (metrics[found][:, 1] for found in (MINUTES, MONITOR, HITS))
    return {
        "version": f"b4r_fast {VERSION}",
        "curve": [
            {"minutes": at, "NDCG@10": n, "HR@10": h} for at, n, h in zip(minutes, ndcg, hits)
        ],
        "test": {
            protocol: metrics_from_ranks(rank_held_out(ranker, split, "test", protocol))
            for protocol in PROTOCOLS
        },
    }


def run_peer(result: Path, data: Path, name: str, options: argparse.Namespace, peer: str) -> dict:
    """A run of a peer, from its begin to its end."""
    python = python_of(peer)
    if python is None:
        return {"error": f"not installed; python -m benchmarks.peers.install {peer} does"}
    preset, minutes = PRESETS[PRESET_OF[name]], minutes_of(name, options)
    settings = {
        "threads": options.threads,
        "minutes": minutes,
        "every": minutes / VALIDATIONS,
        "seed": 0,
        "size": {
            "max_length": preset.max_length,
            "hidden_size": preset.hidden_size,
            "num_heads": preset.num_heads,
            "num_layers": preset.num_layers,
            "mask_prob": MASK_PROB[name],
        },
    }
    partial = result.with_suffix(".partial")
    command = [python, "-m", "benchmarks.accuracy.train_peer", peer, data, partial]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore"},
        input=json.dumps(settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return {"error": last}
    found = json.loads(partial.read_text())
    partial.unlink()
    return found


def conditions(name: str, options: argparse.Namespace) -> dict:
    """What the runs of one table have in common."""
    return {
        "minutes": minutes_of(name, options),
        "threads": options.threads,
        "cpu": machine.cpu_model(),
        "b4r_fast": VERSION,
    }


def done_before(result: Path, conditions: dict) -> dict | None:
    """Raises InputError for a result, or the begin of one, under other conditions."""
    folder = result.with_suffix("")
    begun = folder.with_name(f"{folder.name}.conditions.json")
    if begun.exists():
        if (before := json.loads(begun.read_text())) != conditions:
            differing = [name for name in conditions if before.get(name) != conditions[name]]
            name = differing[0]
            raise InputError(
                f"{folder}: began with {name} {before.get(name)}, and this is"
                f" {conditions[name]}: give another folder with --out, or delete this one"
            )
    else:
        begun.write_text(json.dumps(conditions))
    return json.loads(result.read_text()) if result.exists() else None


def main(argv: list[str]) -> int:
    options = arguments(argv)
    if options.minutes is not None and options.minutes <= 0:
        raise InputError(f"--minutes must be more than 0, got {options.minutes}")
    for name in options.data:
        if not (options.folder / name).is_dir():
            folder = options.folder / name
            raise InputError(
                f"{folder} is not there; `b4r-fast prepare {name} --out {folder}` makes it"
            )
    results = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": machine.description("cpu") | {"threads": options.threads},
        "runs": [],
    }
    for name in options.data:
        data, folder = (options.folder / name).resolve(), (options.out / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        contenders = [("b4r_fast", seed) for seed in range(options.seeds)]
        for contender, seed in [*contenders, *((peer, 0) for peer in options.peers)]:
            result = folder / f"{contender}-{seed}.json"
            found = done_before(result, conditions(name, options))
            if found is None:
                print(f"{name}: {contender}, seed {seed}", flush=True)
                found = (
                    ours(result.with_suffix(""), data, name, options, seed)
                    if contender == "b4r_fast"
                    else run_peer(result, data, name, options, contender)
                )
                if "error" not in found:
                    with atomic_write(result) as partial:
                        partial.write_text(json.dumps(found))
            results["runs"].append({"data": name, "contender": contender, "seed": seed, **found})
            report.write(options.out, results)
    print(f"{options.out / 'results.md'}, {options.out / 'results.png'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (InputError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
