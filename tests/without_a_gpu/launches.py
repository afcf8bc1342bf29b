"""What a training step launches on a GPU, found without one: the step runs on fake tensors, and
nothing is computed.

Fake tensors have no values, so a step that reads one back from the device fails here, as it would
fail in a CUDA graph. They are of the CPU: without CUDA torch's autograd knows no other device.
Every op of ours runs as the Triton backend runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from b4r_fast import BERT4Rec, BERT4RecConfig, CapturedStep
from b4r_fast.backends import DEFAULT_ORDER, _find, reference
from b4r_fast.backends import triton as backend
from b4r_fast.backends.triton import rows

# Operators that launch nothing: they allocate, or look at the same memory in another way.
ALLOCATE = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"}
NEITHER = {"prim", "profiler"}


class Launches(TorchDispatchMode):
    """Notes the torch operators and Triton kernels that would be launched."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator._opname
        if operator.namespace == "b4r_fast":
            with self:
                return backend.OPERATORS.get(name, reference.OPERATORS[name])(*args)
        if operator.namespace not in NEITHER and name not in ALLOCATE and not operator.is_view:
            self.names.append(f"torch {name}")
        return operator(*args, **(kwargs or {}))


@contextmanager
def _kernels_noted(names: list[str]) -> Iterator[None]:
    kernels = type(rows._sum_partials_kernel)  # compiled or interpreted
    run = kernels.run
    kernels.run = lambda self, *args, grid, warmup, **arguments: names.append(
        f"{self.fn.__module__.rpartition('.')[2]} {self.fn.__name__}"
    )
    try:
        yield
    finally:
        kernels.run = run


@contextmanager
def _only_triton() -> Iterator[None]:
    """Beside the reference: native kernels would read where a fake tensor has nothing."""
    with patch.dict(DEFAULT_ORDER, cpu=("triton", "reference")):
        _find.cache_clear()
        yield
    _find.cache_clear()


def launches(build: Callable[[], Callable[[], None]], *, note_kernels: bool = True) -> list[str]:
    """build: makes a step, on fake tensors. What its second run launches, as the first one sets an
    optimizer up.

    note_kernels: or else Triton's kernels are launched, as far as there is a driver, and only
    torch's operators are noted.
    """
    mode = Launches()
    with (
        _only_triton(),
        FakeTensorMode(),
        _kernels_noted(mode.names) if note_kernels else nullcontext(),
        mode,
    ):
        step = build()
        step()
        mode.names.clear()
        step()
    return mode.names


def training_step(dtype: torch.dtype) -> Callable[[], None]:
    """A captured step of the paper's model at the shape of ML-1M: two layers, dropout, the whole
    softmax, AdamW with and without decay.

    Of 256 users' last 200 items, 28,016 in the mean.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with patch.object(BERT4Rec, "reset_parameters"):  # which looks at the numbers that it draws
        model = BERT4Rec(BERT4RecConfig(num_items=3416, max_length=200))
    torch.set_default_dtype(before)
    decayed, others = (
        [p for p in model.parameters() if (p.dim() > 1) == decays] for decays in (True, False)
    )
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    step = CapturedStep(
        model,
        torch.optim.AdamW(groups, lr=1e-3, fused=True),
        tokens=28_016,
        sequences=256,
        mask_prob=0.2,
    )
    return step._step
