"""Triton's interpreter, made to compute as GPUs do and to see what they would not forgive.
install() before kernels run.

    computes   products of bf16 exactly, so that the backend offers them, tf32 operands rounded,
               conversions to bf16 rounded to nearest even
    raises     Fault where a program reads or writes outside its tensors, or touches what another
               program of the launch writes
    poisons    the lanes of a masked load without `other`: NaN, or a large integer

It does not see uninitialised outputs (poison them), nor races within a program.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder, TensorHandle

from b4r_fast.backends import triton

NOBODY, SEVERAL = -1, -2


class Fault(Exception):
    pass


@dataclass
class Span:
    """The bytes of one argument, and which program has read or written what begins at each."""

    first: int
    readers: np.ndarray
    writers: np.ndarray

    @classmethod
    def of(cls, tensor) -> Span:
        last = (
            sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
            if tensor.numel()
            else -1
        )
        size = (last + 1) * tensor.element_size()
        return cls(tensor.data_ptr(), *(np.full(size, NOBODY, np.int32) for _ in range(2)))


class Watch:
    """The accesses of the running launch. Arguments that overlap are one another's memory: each is
    told of every access.
    """

    spans: tuple[Span, ...] = ()
    programs: dict[tuple, int]

    def begin(self, arguments) -> None:
        tensors = {
            (t.data_ptr(), t.shape, t.stride()): t for t in arguments if hasattr(t, "data_ptr")
        }
        self.spans, self.programs = tuple(map(Span.of, tensors.values())), {}

    def program(self) -> int:
        return self.programs.setdefault(
            interpreter.interpreter_builder.grid_idx, len(self.programs)
        )

    def access(self, kind: str, pointers: np.ndarray, size: int) -> None:
        addresses = pointers.astype(np.int64).ravel()
        inside, program = np.zeros(addresses.shape, bool), self.program()
        for span in self.spans:
            offsets = addresses - span.first
            here = (offsets >= 0) & (offsets + size <= span.readers.size)
            inside |= here
            self._mark(kind, span, offsets[here], program)
        if not inside.all():
            raise Fault(
                f"{kind} out of bounds: {(~inside).sum()} of {inside.size} elements, program"
                f" {program}"
            )

    def _mark(self, kind: str, span: Span, offsets: np.ndarray, program: int) -> None:
        writers, readers = span.writers[offsets], span.readers[offsets]
        if ((writers != NOBODY) & (writers != program)).any():
            raise Fault(f"race: {kind} by program {program} of what program {writers.max()} stores")
        if kind == "load":
            span.readers[offsets] = np.where(
                (readers == NOBODY) | (readers == program), program, SEVERAL
            )
            return
        if ((readers != NOBODY) & (readers != program)).any():
            raise Fault(f"race: store by program {program} of what another loads")
        if len(np.unique(offsets)) != len(offsets):
            raise Fault(f"race: two lanes of program {program} store to one place")
        span.writers[offsets] = program


WATCH = Watch()


def _floats(handle: TensorHandle) -> np.ndarray:
    """bf16 is kept as uint16."""
    if handle.dtype.scalar == tl.bfloat16:
        return (handle.data.astype(np.uint32) << 16).view(np.float32)
    return handle.data


def _to_bf16(x: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def _to_tf32(x: np.ndarray) -> np.ndarray:
    return (
        (np.ascontiguousarray(x, np.float32).view(np.uint32) + 0x1000) & np.uint32(0xFFFFE000)
    ).view(np.float32)


def _dot(self, a, b, d, precision, _):
    """Summed in fp64 and rounded once: the same for a block of any shape, as a sum in the order of
    k is on a GPU.
    """
    x, y = _floats(a), _floats(b)
    if (
        a.dtype.scalar == tl.float32
        and "tf32" in str(precision).lower()
        and "x3" not in str(precision).lower()
    ):
        x, y = _to_tf32(x), _to_tf32(y)
    return TensorHandle(
        (np.matmul(x.astype(np.float64), y.astype(np.float64)) + d.data).astype(d.data.dtype),
        d.dtype.scalar,
    )


def _cast(self, handle, to):
    if tl.bfloat16 not in (handle.dtype.scalar, to.scalar):
        return TensorHandle(handle.data.astype(interpreter._get_np_dtype(to)), to.scalar)
    values = _floats(handle)
    return TensorHandle(
        _to_bf16(values)
        if to.scalar == tl.bfloat16
        else values.astype(interpreter._get_np_dtype(to)),
        to.scalar,
    )


@functools.cache  # a second time would watch every access twice
def install() -> None:
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store
    call = GridExecutor.__call__

    def watched_load(self, pointers, mask, other, *rest):
        element = pointers.get_element_ty()
        dtype = interpreter._get_np_dtype(element)
        WATCH.access("load", pointers.data[mask.data.astype(bool)], dtype.itemsize)
        if other is None:
            poison = (
                0x7FC0
                if element == tl.bfloat16
                else np.nan
                if element.is_floating()
                else np.iinfo(dtype).max // 2
            )
            other = TensorHandle(np.full(pointers.data.shape, poison, dtype), element)
        return load(self, pointers, mask, other, *rest)

    def watched_store(self, pointers, value, mask, *rest):
        WATCH.access(
            "store",
            pointers.data[np.broadcast_to(mask.data.astype(bool), pointers.data.shape)],
            value.data.dtype.itemsize,
        )
        return store(self, pointers, value, mask, *rest)

    def refused_atomic(self, *args):
        raise Fault("an atomic: sums would depend on the order of programs")

    def watched_call(self, *args, **kwargs):
        WATCH.begin([*args, *kwargs.values()])
        return call(self, *args, **kwargs)

    InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = (
        watched_load,
        watched_store,
    )
    InterpreterBuilder.create_atomic_rmw, GridExecutor.__call__ = refused_atomic, watched_call
    InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = _dot, _cast
    InterpreterBuilder.create_fp_to_fp = lambda self, handle, to, rounding: _cast(self, handle, to)
    triton.DTYPES = (*triton.DTYPES, torch.bfloat16)
