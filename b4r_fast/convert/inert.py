"""Reads what torch.save or pickle wrote, running nothing that stands in it.

A checkpoint of other people's packages holds their objects beside its tensors. torch.load builds
them, for which the packages must be installed and the file be trusted, or with weights_only refuses
the file. Here the tensors, numbers, texts and collections of the file are read, and any other
object becomes an Inert that holds what the file says of it.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, first_line


class Inert:
    """Stands for an object of a class that is not built. state: what it would have been filled
    with.
    """

    state: Any = None

    def __init__(self, *arguments: Any, **named: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *arguments: Any) -> Inert:
        return Inert()

    def append(self, item: Any) -> None:
        """What stands in a list of a class of its own is not kept; so for the others."""

    def extend(self, items: Any) -> None: ...

    def add(self, item: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> Any:
    # A file of pickle's own has the numbers of a tensor as another file inside.
    return storage.as_strided(size, stride, offset) if isinstance(storage, Tensor) else Inert()


def _parameter(data: Any, *_: Any) -> Any:
    return data


STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def _of_numpy() -> dict[tuple[str, str], Callable]:
    """What makes arrays and numbers, which numpy has placed differently over time."""
    array: Any = np.empty(0).__reduce__()[0]
    number: Any = np.float64().__reduce__()[0]
    places = ("numpy.core.multiarray", "numpy._core.multiarray")
    return {(place, made.__name__): made for place in places for made in (array, number)}


# All that is ever called of what a file names.
BUILT: dict[tuple[str, str], Callable] = _of_numpy() | {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}


class _Reader(pickle.Unpickler):
    """archive, folder: where the numbers of tensors stand; None in a file of pickle's own."""

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile | None, folder: str) -> None:
        super().__init__(file, encoding="latin1")
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if (built := BUILT.get((module, name))) is not None:
            return built
        return type(name, (Inert,), {"__module__": module})

    def persistent_load(self, stored: Any) -> Tensor:
        if self.archive is None:
            raise ValueError("it is of a version of PyTorch before 1.6")
        _, kind, key, _, count = stored
        dtype = STORAGES.get(getattr(kind, "__name__", ""))
        if dtype is None:
            raise ValueError(f"a tensor of {getattr(kind, '__name__', kind)}")
        content = bytearray(self.archive.read(f"{self.folder}data/{key}"))
        return (
            torch.frombuffer(content, dtype=dtype, count=count)
            if count
            else torch.empty(0, dtype=dtype)
        )


def read_checkpoint(file: Path) -> Any:
    """What torch.save or pickle.dump wrote into a file. Raises InputError where it holds something
    else.
    """
    try:
        if not zipfile.is_zipfile(file):
            with file.open("rb") as plain:
                return _Reader(plain, None, "").load()
        with zipfile.ZipFile(file) as archive:
            (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            folder = pickled.removesuffix("data.pkl")
            with archive.open(pickled) as inside:
                return _Reader(inside, archive, folder).load()
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file") from None
    except Exception as error:  # a byte that is wrong may end anywhere in pickle
        raise InputError(
            f"{file}: not readable as a checkpoint of PyTorch or as a pickle, it may be truncated"
            f" or damaged ({first_line(error)})"
        ) from None
