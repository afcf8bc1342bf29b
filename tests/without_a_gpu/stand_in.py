"""A GPU that is not there: tensors of the CPU that say they are on a device "absent", for the tests
marked gpu where torch finds none.

    pytest --on stand-in -m gpu

Triton's kernels run in its interpreter, the CUDA ones as they are compiled for the CPU, everything
else on the CPU, and what takes tensors of both devices raises as it does on a GPU. Sparse tensors,
inference mode, torch.compile and opcheck are beyond it. In a process of its own: torch has one such
device, and keeps it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "absent"


def _why_not() -> str | None:
    if torch.cuda.is_available():
        return "there is a GPU"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return (
        None
        if hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
        else "torch is too old to have a device in Python"
    )


UNAVAILABLE = _why_not()


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Python, with Triton's interpreter."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    checkout = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=250,
    )


class OnStandIn(torch.Tensor):
    @staticmethod
    def __new__(cls, held: torch.Tensor):
        layout = {
            "strides": held.stride(),
            "storage_offset": held.storage_offset(),
            "dtype": held.dtype,
        }
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, device=torch.device(NAME, 0), **layout
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"{self.held!r} on {NAME}"

    def tolist(self):
        return self.held.tolist()

    def data_ptr(self):
        return self.held.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _dispatch(function, args, kwargs or {})


class StandIn(TorchDispatchMode):
    """For the functions that make tensors, whose arguments are none."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _dispatch(function, args, kwargs or {})


def _held(x):
    if isinstance(x, OnStandIn):
        return x.held
    return torch.device("cpu") if isinstance(x, torch.device) else x


def _dispatch(function, args, kwargs):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    here = any(isinstance(x, OnStandIn) for x in tensors)
    if here and function.namespace == "b4r_fast":
        with StandIn():
            return _implementation(function, tensors[0])(*args)
    moves = function.overloadpacket in (torch.ops.aten.copy_, torch.ops.aten._to_copy)
    strangers = [tuple(x.shape) for x in tensors if x.dim() and not isinstance(x, OnStandIn)]
    if here and strangers and not moves:
        raise RuntimeError(
            f"{function} takes tensors on {NAME} and on the CPU, those of shapes {strangers}"
        )
    if (device := kwargs.get("device")) is not None:
        here = torch.device(device).type == NAME
    elif moves:
        here = isinstance(args[0], OnStandIn)
    out = function(*tree_map(_held, args), **tree_map(_held, kwargs))
    if not here:
        return out
    # What was written in place comes back.
    known = {id(x.held): x for x in tensors if isinstance(x, OnStandIn)}
    return tree_map(
        lambda x: known.get(id(x), OnStandIn(x)) if isinstance(x, torch.Tensor) else x, out
    )


def _implementation(function, tensor):
    from b4r_fast.backends import implementation

    return implementation(function.overloadpacket.__name__, tensor)


def install() -> None:
    """Before tests run."""
    from b4r_fast.backends import DEFAULT_ORDER, cuda, reference, triton

    from . import interpreter

    backend_registration._setup_privateuseone_for_python_backend(NAME)
    # torch.tensor(..., device=NAME) moves what it has made on the CPU.
    torch._C._set_only_lift_cpu_tensors(True)
    as_tensor = torch.as_tensor  # which leaves on the CPU what it makes of numbers
    torch.as_tensor = lambda data, dtype=None, device=None: as_tensor(
        data, dtype=dtype, device="cpu"
    ).to(device or torch.get_default_device())
    reference.DEVICES = triton.DEVICES = cuda.DEVICES = (*triton.DEVICES, NAME)
    DEFAULT_ORDER[NAME] = DEFAULT_ORDER["cuda"]
    interpreter.install()
    call = interpreter.GridExecutor.__call__
    interpreter.GridExecutor.__call__ = lambda self, *args, **kwargs: call(
        self, *map(_held, args), **tree_map(_held, kwargs)
    )
    StandIn().__enter__()
