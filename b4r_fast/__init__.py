"""Fast BERT4Rec: fused attention, feed-forward and softmax kernels, composed into a drop-in torch
module.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "b4r_fast needs PyTorch; `pip install torch`, or see https://pytorch.org/get-started",
        name="torch",
    ) from None

from typing import TYPE_CHECKING

from . import convert, ops
from .backends import use_backend
from .captured_step import CapturedStep
from .errors import InputError
from .model import BERT4Rec, BERT4RecConfig
from .optim import RowwiseAdamW
from .packed import PackedSequences
from .version import VERSION

if TYPE_CHECKING:
    from .backends import backends
else:
    from . import backends  # the package, which may be called, so that backends.triton is found too

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
