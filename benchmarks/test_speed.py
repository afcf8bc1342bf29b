"""b4r_fast alone, for comparing two states of the code: pytest benchmarks --benchmark-autosave,
then --benchmark-compare after the change.

Beside the peers and the machine's limit it is python -m benchmarks that measures.
"""

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from benchmarks import ops, peers
from benchmarks.workloads import WORKS, batch_of


def load(contender, work):
    contender.load(batch_of(work))
    return contender


@pytest.mark.parametrize("title", ops.CASES)
def test_forward(benchmark, title):
    case = ops.CASES[title]
    op = load(ops.build(title, "b4r_fast", WORKS[case.work]), WORKS[case.work])
    benchmark.group = title
    benchmark(op.forward)


@pytest.mark.parametrize(
    "title", [title for title, case in ops.CASES.items() if not case.op.startswith("topk")]
)
def test_forward_and_backward(benchmark, title):
    case = ops.CASES[title]
    op = load(ops.build(title, "b4r_fast", WORKS[case.work]), WORKS[case.work])
    benchmark.group = title
    benchmark(lambda: op.backward(op.forward()))


@pytest.mark.parametrize("name", WORKS)
def test_training_step(benchmark, name):
    step = load(
        peers.build_training("b4r_fast", SimpleNamespace(**asdict(WORKS[name]))), WORKS[name]
    )

    def whole():
        step.backward(step.forward())
        step.optimize()

    benchmark.group = f"training step, {name}"
    benchmark(whole)
