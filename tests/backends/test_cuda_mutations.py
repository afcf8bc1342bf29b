"""That the checks of the CUDA kernels see: each of these planted faults is found."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from .. import native_build
from ..cuda_on_cpu import run_tests
from ..cuda_on_cpu.build import ROOT, build
from .test_native import skip_without_runtime

if torch.cuda.is_available():
    pytest.skip("for the kernels as they are compiled for the CPU", allow_module_level=True)

pytestmark = [pytest.mark.kernels, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Mutation:
    """fault: what is wrong. Of a file of csrc/cuda, `right` is replaced by `wrong`; tests of
    test_cuda.py with this in their names see it.

    sees: a word of what is said then.
    """

    fault: str
    file: str
    right: str
    wrong: str
    tests: str
    sanitizer: str = ""
    mode: dict = field(default_factory=dict)
    sees: str = "AssertionError"


RACE, OVERFLOW = "ThreadSanitizer: data race", "AddressSanitizer: heap-buffer-overflow"

MUTATIONS = (
    Mutation(
        "a barrier missing behind a wait",
        "scores.cuh",
        "__syncthreads();\n    if (part == 0)",
        "if (part == 0)",
        "small_topk",
    ),
    Mutation(
        "a barrier missing before a buffer is used again",
        "scores.cuh",
        "__syncthreads();  // or a fast",
        "// or a fast",
        "small_rank_is_exact",
        "thread",
        {"copies": "eager"},
        RACE,
    ),
    Mutation(
        "a barrier of a warp missing",
        "topk.cu",
        "keys[second] = a;\n  }\n  __syncwarp();",
        "keys[second] = a;\n  }",
        "small_topk",
    ),
    Mutation(
        "a wait missing",
        "scores.cuh",
        "wait_for_copies<1>();",
        "wait_for_copies<2>();",
        "small_topk",
    ),
    Mutation("a mask missing", "rank.cu", "if (item < end) counts", "counts", "small_rank"),
    Mutation(
        "entries that are none added up",
        "sampled_softmax_loss.cu",
        "if (start + group < last) {",
        "{",
        "small_loss",
    ),
    Mutation(
        "a wrong index in a fragment",
        "scores.cuh",
        "item + i / 2 * 8, z[q][i]",
        "item + i % 2 * 8, z[q][i]",
        "small_topk",
    ),
    Mutation(
        "a wrong row of a fragment",
        "scores.cuh",
        "warp * 16 + lane % 16",
        "warp * 16 + lane % 8",
        "small_rank",
    ),
    Mutation(
        "a plain accumulation",
        "rank.cu",
        "atomicAdd(&targets->count[Tile::row(slot)], sum);",
        "targets->count[Tile::row(slot)] += sum;",
        "small_rank",
        "thread",
        {},
        RACE,
    ),
    Mutation(
        "two chunks' partial sums in one place",
        "sampled_softmax_loss.cu",
        "partials + (2 * chunk +",
        "partials + (2 * (chunk / 2) +",
        "small_loss",
        "thread",
        {},
        RACE,
    ),
    Mutation(
        "a row read behind its end",
        "scores.cuh",
        "exists = exists && column < d;",
        "exists = exists && column < d + 8;",
        "small_rank",
        "address",
        {},
        OVERFLOW,
    ),
    Mutation(
        "shared memory that was not asked for",
        "rank.cu",
        "kOneRow>(in.d) + sizeof(Targets)",
        "kOneRow>(in.d)",
        "small_rank",
        "address",
        {},
        OVERFLOW,
    ),
    Mutation(
        "a sum that is not rescaled",
        "sampled_softmax_loss.cu",
        "    total *= factor;\n",
        "",
        "small_loss",
    ),
    Mutation(
        "hits that count",
        "sampled_softmax_loss.cu",
        "if (item[u] != target)",
        "if (true)",
        "small_loss",
    ),
    Mutation(
        "a bias dropped",
        "scores.cuh",
        "z + to_float(bias[item])",
        "z + 0.0f * to_float(bias[item])",
        "small_topk",
    ),
    Mutation(
        "lanes that leave a loop apart",
        "sampled_softmax_loss.cu",
        "start = 0; start < in",
        "start = group; start < in",
        "any_number_of_negatives",
        sees="lanes of a warp wait",
    ),
    Mutation(
        "a draw that forgets a word",
        "sample_negatives.cu",
        "{high} << 31 | low >> 1",
        "{high} << 31",
        "small_samples",
    ),
)


def planted(mutation: Mutation, to: Path) -> Path:
    """The module with the fault, from a copy of the sources that stays, so that what has no fault
    is compiled once.
    """
    folder = ROOT / "build" / "cuda_on_cpu" / f"mutated-{mutation.sanitizer or 'plain'}"
    sources = folder / "csrc"
    with native_build.alone_in(sources):
        plant(mutation, sources)
        return Path(
            shutil.copy(build(sanitizer=mutation.sanitizer, sources=sources, folder=folder), to)
        )


def plant(mutation: Mutation, sources: Path) -> None:
    for original in (ROOT / "csrc").rglob("*"):
        if original.is_dir():
            continue
        copy, text = sources / original.relative_to(ROOT / "csrc"), original.read_text()
        if original.parent.name == "cuda" and original.name == mutation.file:
            assert text.count(mutation.right) == 1, "the mutation no longer fits the source"
            text = text.replace(mutation.right, mutation.wrong)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists() or copy.read_text() != text:
            copy.write_text(text)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.fault)
def test_a_planted_fault_is_found(mutation, tmp_path, found):
    if mutation.sanitizer:
        skip_without_runtime(mutation.sanitizer, tmp_path)
    tests = ("tests/backends/test_cuda.py", "-k", mutation.tests)
    done = run_tests(
        *tests, module=planted(mutation, tmp_path), sanitizer=mutation.sanitizer, **mutation.mode
    )
    assert done.returncode != 0, "nothing was found"
    assert mutation.sees in done.stdout, done.stdout[-3000:]
    found(mutation.fault, seen=mutation.sees)
