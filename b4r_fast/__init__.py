"""Fast BERT4Rec: fused attention, feed-forward and softmax kernels, composed into a drop-in torch
module.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .version import VERSION

if find_spec("torch") is None:
    raise ModuleNotFoundError(
        "b4r_fast needs PyTorch; `pip install torch`, or see https://pytorch.org/get-started",
        name="torch",
    )


def _is_the_command() -> bool:
    """Whether the command line began this process: it imports torch, which takes a second, when it
    knows what is asked for.
    """
    begun_by = next(iter(sys.argv), "")
    return Path(begun_by).stem == "b4r-fast" or (begun_by == "-m" and "b4r_fast" in sys.orig_argv)


if not _is_the_command():
    from . import convert, ops
    from .backends import use_backend
    from .captured_step import CapturedStep
    from .model import BERT4Rec, BERT4RecConfig
    from .optim import RowwiseAdamW
    from .packed import PackedSequences

    if TYPE_CHECKING:
        from .backends import backends
    else:  # the package, which may be called: b4r_fast.backends.triton is found too
        from . import backends

__version__ = VERSION
__all__ = [
    "BERT4Rec",
    "BERT4RecConfig",
    "CapturedStep",
    "InputError",
    "PackedSequences",
    "RowwiseAdamW",
    "backends",
    "convert",
    "ops",
    "use_backend",
]
