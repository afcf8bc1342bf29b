"""Which comparisons there are, and how one is carried out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from . import operations, ops
from .batch import IGNORED, Batch
from .measure import interleave, medians, ratios, whole
from .peers import INFERENCE, OURS, TRAINING, Peer
from .processes import PeerFailed, Worker
from .workloads import WORKS, Work, batch_of

DEFAULT, TUNED, BOTH = ("default",), ("tuned",), ("default", "tuned")
Peers = dict[str, tuple[str, ...]]  # a peer, and with which settings of malloc


@dataclass(frozen=True)
class Comparison:
    """kind: "training", "inference" or "op". work: a key of WORKS. case: of an op, a key of
    ops.CASES.
    """

    kind: str
    work: str
    peers: Peers
    case: str = ""

    @property
    def title(self) -> str:
        return self.case or WORKS[self.work].title


@dataclass(frozen=True)
class Effort:
    """budget: seconds of rounds for each peer. least: rounds of each peer at least."""

    budget: float
    least: int


QUICK, FULL = Effort(budget=6, least=2), Effort(budget=40, least=5)
OUR_BEST = ("eager", "eager-unpadded", "compile", "compile-unpadded")


def quick() -> list[Comparison]:
    """What takes some 10 minutes on two cores."""
    return [
        Comparison(
            "training",
            "ml-1m",
            {OURS: TUNED}
            | dict.fromkeys(("eager", "compile"), BOTH)
            | dict.fromkeys(("eager-unpadded", "huggingface", "replay-restricted"), DEFAULT),
        ),
        Comparison(
            "training", "beauty", {"eager": BOTH, "compile": DEFAULT, "huggingface": DEFAULT}
        ),
        Comparison("training", "beauty-sampled", {"eager-full": DEFAULT, "eager": DEFAULT}),
        Comparison("training", "million-sampled", {"eager": DEFAULT}),
        Comparison("training", "ml-20m-shape", {"eager": DEFAULT, "compile": DEFAULT}),
        Comparison("inference", "beauty", dict.fromkeys(("eager", "onnxruntime"), DEFAULT)),
        *(
            Comparison("op", case.work, dict.fromkeys(case.peers, DEFAULT), case.title)
            for case in ops.CASES.values()
        ),
    ]


def full() -> list[Comparison]:
    """Every peer with both settings of malloc."""
    others = ("huggingface", "replay-restricted", "replay", "rectools", "recbole")
    return [
        *(
            Comparison("training", name, {OURS: TUNED} | dict.fromkeys((*OUR_BEST, *others), BOTH))
            for name in ("ml-1m", "beauty")
        ),
        Comparison("training", "beauty-sampled", dict.fromkeys(("eager-full", *OUR_BEST), BOTH)),
        Comparison("training", "million-sampled", dict.fromkeys(OUR_BEST, BOTH)),
        Comparison("training", "ml-20m-shape", dict.fromkeys(OUR_BEST, BOTH)),
        Comparison("inference", "ml-1m", dict.fromkeys(list(INFERENCE)[1:], BOTH)),
        Comparison("inference", "beauty", dict.fromkeys(list(INFERENCE)[1:], BOTH)),
        *(
            Comparison("op", case.work, dict.fromkeys(case.peers, BOTH), case.title)
            for case in ops.CASES.values()
        ),
    ]


def on_gpu(comparisons: list[Comparison]) -> list[Comparison]:
    """The same with the peers that a GPU has, each once: malloc serves the CPU."""

    def peers(comparison: Comparison) -> Iterable[str]:
        if comparison.kind == "op":
            return (*comparison.peers, *ops.CASES[comparison.case].on_gpu)
        peers = (
            name for name in comparison.peers if name != OURS and titles(comparison)[name].on_gpu
        )
        return ("recorded", *peers) if comparison.kind == "training" else peers

    return [
        replace(comparison, peers=dict.fromkeys(peers(comparison), DEFAULT))
        for comparison in comparisons
    ]


# FlashAttention and varlen_attn take no fp32, so all contenders of an op get halves on a GPU.
DTYPES = {("op", "cuda"): "bfloat16"}


def dtype_of(kind: str, device: str) -> str:
    return DTYPES.get((kind, device), "float32")


def useful(
    comparison: Comparison, work: Work, batch: Batch, dtype: str
) -> tuple[str, dict[str, int]]:
    """What limits it, "fma" or "bandwidth", and the useful operations or bytes of its parts."""
    if comparison.kind == "op":
        module = ops.CASES[comparison.case].module
        size = getattr(torch, dtype).itemsize if module.LIMIT == "bandwidth" else 1
        limit, count = (
            module.LIMIT,
            {part: size * number for part, number in module.count(work, batch).items()},
        )
    elif comparison.kind == "training":
        columns = work.num_items if work.loss == "full" else work.num_negatives + 1
        limit = "fma"
        count = operations.training_step(
            batch.lengths,
            batch.hidden_of_sequence(),
            work.hidden_size,
            work.num_heads,
            work.num_layers,
            columns,
        )
    else:
        asking = batch.asking()
        counts = operations.training_step(
            asking.lengths,
            asking.hidden_of_sequence(),
            work.hidden_size,
            work.num_heads,
            work.num_layers,
            work.num_items,
        )
        # Scores need no softmax.
        products = counts["forward"] - operations.EXP * len(asking) * work.num_items
        limit, count = "fma", {"forward": products}
    if count.get("backward"):
        count = count | {
            "both": count["forward"] + count["backward"],
            "step": count["forward"] + count["backward"],
        }
    return limit, count


def titles(comparison: Comparison) -> dict[str, Peer]:
    if comparison.kind == "op":
        return {name: Peer(name, comparison.case) for name in (OURS, *comparison.peers)}
    return TRAINING if comparison.kind == "training" else INFERENCE


def carry_out(
    comparison: Comparison,
    effort: Effort,
    threads: int,
    say: Callable[[str], None],
    work: Work | None = None,
    device: str = "cpu",
) -> list[dict]:
    """The rows of one comparison: ours first, then each peer's with each setting of malloc, or the
    reason why it has none.
    """
    work = work or WORKS[comparison.work]
    batch, dtype = batch_of(work), dtype_of(comparison.kind, device)
    limit, count = useful(comparison, work, batch, dtype)
    shared = {
        "kind": comparison.kind,
        "title": comparison.title,
        "work": work.name,
        "data": batch.source,
    }
    shared |= {
        "sequences": len(batch),
        "tokens": batch.values.numel(),
        "labelled": int((batch.labels != IGNORED).sum()),
    }
    peers, our_runs, rates, rows = titles(comparison), [], [], []
    with tempfile.TemporaryDirectory() as folder, Worker(threads=threads, device=device) as us:
        file = Path(folder) / "batch.pt"
        batch.save(file)
        spec = {
            "kind": comparison.kind,
            "case": comparison.case,
            "work": asdict(work),
            "batch": str(file),
            "dtype": dtype,
        }
        try:
            us_built = us.ask("build", name=OURS, **spec)
        except PeerFailed as error:
            say(f"  b4r_fast: {error}")
            return [shared | {"contender": OURS, "error": str(error)}]
        bytes_read = count["forward"] if limit == "bandwidth" else 64 << 20
        for name, malloc in _each(comparison.peers):
            row = shared | {"contender": peers[name].title, "malloc": malloc}
            in_our_process = comparison.kind == "op" and malloc == "default"
            try:
                with (
                    nullcontext(us)
                    if in_our_process
                    else Worker(
                        threads=threads,
                        device=device,
                        environment=peers[name].environment,
                        malloc=malloc,
                    ) as them
                ):
                    built = them.ask("build", name=name, **spec)
                    rounds = interleave(
                        lambda: us.ask("run", name=OURS),
                        lambda them=them, name=name: them.ask("run", name=name),
                        budget=effort.budget,
                        least=effort.least,
                    )
                    if in_our_process:
                        them.ask("drop", name=name)
            except PeerFailed as error:
                row |= {"error": str(error)}
                say(f"  {peers[name].title} ({malloc} malloc): {error}")
            else:
                our_runs += [ours for ours, _ in rounds]
                rates.append(us.ask("limits", name=OURS, bytes_read=bytes_read)[limit])
                theirs = medians([theirs for _, theirs in rounds])
                row |= {"rounds": len(rounds)} | built
                row |= {"seconds": theirs, "times_ours": ratios(rounds)}
                part = whole(theirs)
                say(
                    f"  {row['contender']} ({malloc} malloc): {theirs[part]:.4g} s,"
                    f" {row['times_ours'][part]:.2f} times ours"
                )
            rows.append(row)
    return [shared | _our_row(us_built, our_runs, limit, count, rates), *rows]


def _each(peers: Peers) -> Iterable[tuple[str, str]]:
    return ((name, malloc) for name, mallocs in peers.items() for malloc in mallocs)


def _our_row(
    built: dict, runs: list[dict], limit: str, count: dict[str, int], rates: list[float]
) -> dict:
    row = {"contender": OURS, "malloc": "default", "rounds": len(runs)} | built
    if not runs:
        return row | {"error": "no peer to measure it beside"}
    seconds, rate = medians(runs), medians([{"rate": rate} for rate in rates])["rate"]
    share = {part: count[part] / seconds[part] / (rate * 1e9) for part in seconds if part in count}
    return row | {
        "seconds": seconds,
        "limit": limit,
        "limit_rate": rate,
        "useful": count,
        "share_of_limit": share,
    }
