"""What every public op asks of its arguments, and the one line that says what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad

Sized = tuple[Tensor | None, str]


def check_tensors(
    dtype: torch.dtype | None, sizes: dict[str, int], like: Tensor | None = None, **tensors: Sized
) -> dict[str, int]:
    """Check tensors given as name=(tensor, "T d"): dtype, device, and one size for each letter;
    None passes for an absent tensor.

    dtype None asks for the floating dtype of `like`, or of the first tensor. sizes: the letters
    known so far, extended and returned.
    """
    for name, (tensor, shape) in tensors.items():
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
        refuse_transforms(tensor)
        if like is None:
            like = tensor
        expected = dtype or like.dtype
        if tensor.dtype != expected or (dtype is None and not tensor.dtype.is_floating_point):
            wanted = (
                f"the dtype of the other tensors, {expected}"
                if expected.is_floating_point
                else str(dtype or "a floating dtype")
            )
            raise ValueError(f"{name} must have {wanted}, got {tensor.dtype}")
        if tensor.device != like.device:
            raise ValueError(
                f"{name} must be on {like.device} as the other tensors, got {tensor.device}"
            )
        letters = shape.split()
        if tensor.dim() != len(letters) or any(
            size != sizes.setdefault(letter, size) for letter, size in zip(letters, tensor.shape)
        ):
            known = ", ".join(f"{letter}={sizes[letter]}" for letter in letters if letter in sizes)
            raise ValueError(
                f"{name} must have shape ({', '.join(letters)}) with {known or 'any sizes'}, got"
                f" {tuple(tensor.shape)}"
            )
    return sizes


def fp32_passes(tensor: Tensor | None) -> torch.dtype | None:
    """For check_tensors: what may be float32 beside tensors of another floating dtype."""
    return torch.float32 if getattr(tensor, "dtype", None) == torch.float32 else None


def refuse_transforms(tensor: Tensor) -> None:
    """Raise NotImplementedError where a transform that the ops have no rule for differentiates by
    this tensor: forward mode would give 0 without a word, torch.func.grad an error about our
    insides.
    """
    if torch.compiler.is_compiling():
        return
    forward_mode = forward_ad._current_level >= 0
    if not forward_mode and functorch.peek_interpreter_stack() is None:
        return
    while functorch.is_batchedtensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    if forward_mode and forward_ad.unpack_dual(tensor, level=0).tangent is not None:
        raise NotImplementedError(
            "b4r_fast has no forward-mode derivatives (torch.func.jvp, jacfwd, dual tensors); use"
            " torch.autograd.grad or backward()"
        )
    if functorch.is_gradtrackingtensor(tensor) and tensor.requires_grad:
        raise NotImplementedError(
            "b4r_fast has no derivatives through torch.func (grad, vjp, jacrev, hessian); use"
            " torch.autograd.grad or backward()"
        )


def readable(tensor: Tensor) -> bool:
    """Whether reading the values waits for nothing: they are not on a GPU, and there, not those of
    a tensor being traced or a fake one.
    """
    return (
        tensor.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not isinstance(tensor, FakeTensor)
    )


def check_dropout(dropout_p: float, seed: Tensor | None, device: torch.device) -> Tensor | None:
    """The seed to use: None when nothing is dropped, the given one, or one drawn from torch's
    generator.
    """
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p must lie in [0, 1), got {dropout_p}")
    return None if dropout_p == 0.0 else check_seed(seed, device)


def check_seed(seed: Tensor | None, device: torch.device) -> Tensor:
    """The given int64 scalar tensor, or one drawn from torch's generator."""
    if seed is None:
        return torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64, device=device)
    if not isinstance(seed, Tensor) or seed.dtype != torch.int64 or seed.numel() != 1:
        raise ValueError(f"seed must be an int64 tensor with one element, or None, got {seed!r}")
    if seed.device != device:
        raise ValueError(f"seed must be on {device} as the other tensors, got {seed.device}")
    return seed


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_range(
    name: str, ids: Tensor, low: int, high: int, kind: str, *, ignored: int | None = None
) -> None:
    """Every element must lie in [low, high], or be the ignored value. kind says what the elements
    are: "rows of items".
    """
    if ids.numel() == 0:
        return
    least, greatest = (int(x) for x in torch.aminmax(ids))
    if least < low and ignored is not None:
        others = ids[ids != ignored]
        least = int(others.min()) if others.numel() else low
    if least < low or greatest > high:
        also = f", or {ignored}" if ignored is not None else ""
        raise ValueError(
            f"{name} must be {kind}, {low} to {high}{also}; got"
            f" {least if least < low else greatest}"
        )


def check_rows(
    name: str, rows: Tensor, table: str, size: int, *, ignored: int | None = None
) -> None:
    """Every element must be a row of a table of this size, or the ignored value."""
    check_range(name, rows, 0, size - 1, f"rows of {table}", ignored=ignored)


def check_offsets(name: str, offsets: Tensor, total: int, max_seqlen: int | None = None) -> None:
    """Offsets must begin at 0, never fall, end at the number of elements, and no piece may be
    longer than max_seqlen.
    """
    first, last = (int(offsets[0]), int(offsets[-1])) if offsets.numel() else (-1, -1)
    if first != 0 or last != total:
        raise ValueError(
            f"{name} must begin with 0 and end with the number of elements, {total}; got {first}"
            f" and {last}"
        )
    if offsets.numel() == 1:
        return
    shortest, longest = (int(x) for x in torch.aminmax(offsets.diff()))
    if shortest < 0:
        raise ValueError(f"{name} must not decrease")
    if max_seqlen is not None and longest > max_seqlen:
        raise ValueError(
            f"max_seqlen must be at least the longest sequence of {name}, {longest}; got"
            f" {max_seqlen}"
        )
