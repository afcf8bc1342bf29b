"""What a damaged file does to the commands that read it: `python -m tests.fuzz --mutations 500`.

Each mutation runs in a forked child, so a crash of native code and a hang are seen too. A command
must exit with 0, with 2 and one line of error, or with 1 and one line where training diverged; and
what it refuses leaves what was there.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

SECONDS = 30  # of one command, which takes less than one
MEMORY = 6 << 30  # bytes of address space beyond what the parent has
ROWS, USERS, ITEMS = 60, 12, 9

NUMBERS = ("-1", "0", "99999999999999999999", "1e999", "nan", "-inf", "", "0x10", "1_0", "٣", "1.5")
TEXTS = (
    b"\xff\xfe",
    b"\x00",
    b'"',
    b"\xef\xbb\xbf",
    b"\r",
    b"\t\t",
    b"::",
    b"[/x]",
    b"\xed\xa0\x80",
)
JSON_VALUES = (None, True, -1, 0, 2**70, 1.5, float("nan"), "", "x", [], {}, [[]], {"a": {}})


def flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def insert(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return (
        data[:place] + rng.choice((*TEXTS, rng.randbytes(rng.choice((1, 8, 300))))) + data[place:]
    )


def delete(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + data[place + rng.choice((1, 4, 64)) :]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def repeat(data: bytes, rng: random.Random) -> bytes:
    begin, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[begin:end] + data[end:]


def shuffle_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def change_number(data: bytes, rng: random.Random) -> bytes:
    """One run of digits becomes something that is no such number."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return data
    begin = rng.choice(places)
    end = begin
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    return data[:begin] + rng.choice(NUMBERS).encode() + data[end:]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """Eight bytes near the beginning, where headers are, or anywhere."""
    place = rng.randrange(max(1, min(len(data), rng.choice((128, len(data) or 1)))))
    value = rng.choice((0, 1, 2**31, 2**63 - 1, 2**64 - 1)).to_bytes(8, "little")
    return data[:place] + value + data[place + 8 :]


def change_json(data: bytes, rng: random.Random) -> bytes:
    """A key goes, comes, or has a value of another type."""
    try:
        content = json.loads(data)
    except ValueError:
        return flip(data, rng)
    inner = [content, *(value for value in content.values() if isinstance(value, dict))]
    table = rng.choice(inner)
    key = rng.choice([*table, "unknown"])
    if rng.random() < 0.3:
        table.pop(key, None)
    else:
        table[key] = rng.choice(JSON_VALUES)
    return json.dumps(content).encode()


BYTES = (flip, insert, delete, truncate, repeat, overwrite)
MUTATORS: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    "text": (*BYTES, shuffle_lines, change_number, change_number),
    ".json": (*BYTES, change_number, change_json, change_json, change_json),
    "bytes": BYTES,
}
TEXT_SUFFIXES = (".csv", ".tsv", ".inter", ".dat", ".txt", ".pairs")


def mutated(path: Path, rng: random.Random) -> bytes:
    """What stands in the file, damaged; of a .gz mostly what is packed."""
    data = path.read_bytes()
    plain = path.name.removesuffix(".gz")
    packed = plain != path.name and rng.random() < 0.8
    suffix = Path(plain).suffix
    if plain != path.name and not packed:
        kind = "bytes"
    else:
        kind = "text" if suffix in TEXT_SUFFIXES else suffix if suffix in MUTATORS else "bytes"
    data = gzip.decompress(data) if packed else data
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = rng.choice(MUTATORS[kind])(data, rng)
    return gzip.compress(data, 1, mtime=0) if packed else data


@dataclass(frozen=True)
class Case:
    """A file to damage, and commands that read it; {damaged} is the folder of a copy. kept: what a
    command that refuses leaves as it was.
    """

    name: str
    file: Path
    root: Path
    commands: tuple[tuple[str, ...], ...]
    kept: str = ""


def write_logs(folder: Path) -> list[Path]:
    """The same actions in every format."""
    rng = random.Random(0)
    actions = [
        (f"u{rng.randrange(USERS)}", f"i{rng.randrange(ITEMS)}", rng.randrange(1, 6), 1000 + row)
        for row in range(ROWS)
    ]
    texts = {
        "log.csv": "user,item,rating,time\n"
        + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in actions),
        "quoted.csv": "user,item,rating,time\n"
        + "".join(f'"{u}","{i}",{r},2024-05-{1 + t % 28}\n' for u, i, r, t in actions),
        "log.tsv": "user\titem\trating\ttime\n"
        + "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in actions),
        "log.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        + "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in actions),
        "log.dat": "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in actions),
        "log.txt": "".join(
            " ".join(rng.sample([f"i{n}" for n in range(ITEMS)], 5)) + "\n" for _ in range(USERS)
        ),
        "log.pairs": "".join(f"{u} {i}\n" for u, i, _, _ in actions),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    with gzip.open(folder / "packed.csv.gz", "wt") as file:
        file.write(texts["log.csv"])
    import duckdb

    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE log AS SELECT * FROM read_csv(?)", [str(folder / "log.csv")]
    ).execute("COPY log TO ? (FORMAT parquet)", [str(folder / "log.parquet")])
    return sorted(folder.iterdir())


SMALL = (
    "--hidden-size 8 --num-heads 2 --num-layers 1 --max-length 8 --batch-size 8 --threads 1"
    " --epochs 1"
)


def cases(folder: Path) -> list[Case]:
    """Prepares a log and trains on it, and lists what is to be damaged."""
    logs, data, run = folder / "logs", folder / "data", folder / "run"
    logs.mkdir()
    files = write_logs(logs)
    call("prepare", str(logs / "log.csv"), "--out", str(data))
    call("train", str(data), "--out", str(run), *SMALL.split())
    found = []
    for log in files:
        options = ("--format", "pairs") if log.suffix == ".pairs" else ()
        rated = () if log.suffix in (".pairs", ".txt") else ("--min-rating", "2")
        prepare = ("prepare", f"{{damaged}}/{log.name}", "--out", "{folder}/out", *options)
        found.append(Case("log", log, logs, (prepare, (*prepare, *rated)), kept="out"))
    evaluate, recommend = ("evaluate", "{run}"), ("recommend", "{run}", "--user", "u3")
    for file in sorted(path for path in data.rglob("*") if path.is_file()):
        commands = (
            ("train", "{damaged}", "--out", "{folder}/new", *SMALL.split()),
            ("train", "{damaged}", "--out", "{run}", "--resume", "--epochs", "2"),
            ("evaluate", "{run}", "--data", "{damaged}"),
            ("prepare", str(logs / "log.csv"), "--out", "{damaged}"),
        )
        found.append(Case("data", file, data, commands, kept="run"))
    read = [
        *run.glob("*.json"),
        *run.glob("*.parquet"),
        *run.glob("*.safetensors"),
        *run.glob("checkpoints/*"),
        *run.glob("logs/*/*.csv"),
    ]
    for file in sorted(read):
        commands = (
            tuple(part.replace("{run}", "{damaged}") for part in evaluate),
            tuple(part.replace("{run}", "{damaged}") for part in recommend),
            ("train", str(data), "--out", "{damaged}", "--resume", "--epochs", "2"),
        )
        name = "run.json" if file.name == "run.json" else "run"
        found.append(Case(name, file, run, commands))
    return found


def call(*arguments: str) -> tuple[int, str]:
    """The exit code of a command and what it wrote to standard error."""
    from b4r_fast.cli import main

    error = io.StringIO()
    with redirect_stderr(error), redirect_stdout(io.StringIO()):
        try:
            main(list(arguments))
        except SystemExit as exit_:
            return int(exit_.code or 0), error.getvalue()
        except BaseException:
            return -1, error.getvalue() + traceback.format_exc()
    return 0, error.getvalue()


def in_a_child(arguments: list[str]) -> tuple[int, str]:
    """The same in a fork, under limits; a signal that ended it is a negative code."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.close(read)
            os.dup2(write, 1)
            os.dup2(write, 2)
            signal.alarm(SECONDS)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            code, error = call(*arguments)
            os.write(2, error.encode("utf-8", "backslashreplace")[-3000:])
        finally:
            os._exit(code & 0x7F if code >= 0 else 98)
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, said


def contents(folder: Path) -> str:
    """A digest of all that stands in it."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "training.lock":
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def fault(code: int, said: str, *, changed: bool, left: list[str]) -> str | None:
    """What is wrong with how a command ended, None where nothing is."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if code == -signal.SIGALRM:
        return f"hangs for {SECONDS} s"
    if code < 0:
        return f"crashes with signal {-code}"
    if "Traceback" in said or code not in (0, 1, 2):
        return f"traceback, exit code {code}"
    if code == 1 and "diverged" not in said:
        return "exit code 1"
    if code and len(errors) != 1:
        return f"{len(errors)} lines of error"
    if code and said.splitlines()[-1] != errors[0]:
        return "an error of more than one line"
    if code == 2 and changed:
        return "what was there is changed"
    return f"leaves {left[0]} behind" if left else None


def mutations(found: list[Case], name: str, numbers: Iterable[int]) -> Iterator[tuple[int, Case]]:
    """Every file of the kind in turn."""
    of_kind = [case for case in found if case.name == name]
    return ((number, of_kind[number % len(of_kind)]) for number in numbers)


def try_one(case: Case, number: int, seed: int, base: Path) -> tuple[str, int, str, str | None]:
    """One command on one damaged file: the command, its exit code, what it said, what is wrong."""
    rng = random.Random(f"{seed} {case.name} {case.file.name} {number}")
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        folder = Path(scratch)
        damaged, run, out = folder / "damaged", folder / "run", folder / "out"
        shutil.copytree(case.root, damaged)
        if case.name == "data":
            shutil.copytree(base / "run", run)
        if case.name == "log":
            shutil.copytree(base / "data", out)
        (damaged / case.file.relative_to(case.root)).write_bytes(mutated(case.file, rng))
        command = rng.choice(case.commands)
        arguments = [part.format(damaged=damaged, run=run, folder=folder) for part in command]
        before = contents(folder)
        code, said = in_a_child(arguments)
        left = [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
        changed = contents(folder) != before
        return " ".join(command), code, said, fault(code, said, changed=changed, left=left)


def fuzz(
    numbers: Sequence[int], seed: int, kinds: Iterable[str], keep: Path | None = None
) -> list[str]:
    """The mutations of these numbers of each kind; prints a summary, returns what is wrong, a line
    each. keep: a folder for all that such a command said.
    """
    import torch

    import b4r_fast.training.train  # noqa: F401  # before the forks
    from b4r_fast.serving import Recommender  # noqa: F401

    torch.set_num_threads(1)
    faults = []
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        found = cases(base)
        for kind in kinds:
            codes: Counter[int] = Counter()
            began = time.monotonic()
            for number, case in mutations(found, kind, numbers):
                command, code, said, wrong = try_one(case, number, seed, base)
                codes[code] += 1
                if wrong:
                    last = (said.strip().splitlines() or [""])[-1]
                    faults.append(
                        f"{kind} {case.file.name}, number {number}: {command}: {wrong}: {last}"
                    )
                    if keep is not None:
                        (keep / f"{kind}-{number}.txt").write_text(f"{faults[-1]}\n{said}")
            ended = ", ".join(f"{times} with {code}" for code, times in sorted(codes.items()))
            wrong_here = sum(line.startswith(f"{kind} ") for line in faults)
            print(
                f"{kind}: {len(numbers)} mutations in {time.monotonic() - began:.0f} s;"
                f" ended {ended}; {wrong_here} faults",
                flush=True,
            )
    return faults


KINDS = ("log", "data", "run", "run.json")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--only", type=int, help="the number of one of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--keep", type=Path, help="a folder for what faults said")
    options = parser.parse_args()
    chosen = range(options.mutations) if options.only is None else [options.only]
    all_faults = fuzz(chosen, options.seed, options.kinds, options.keep)
    print(*all_faults, sep="\n")
    sys.exit(bool(all_faults))
