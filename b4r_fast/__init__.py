"""Fast BERT4Rec: fused attention, feed-forward and softmax kernels, composed into a drop-in torch module."""

from . import convert, ops
from .backends import backends, use_backend
from .errors import InputError
from .model import BERT4Rec, BERT4RecConfig
from .packed import PackedSequences
from .version import VERSION

__version__ = VERSION
__all__ = ["BERT4Rec", "BERT4RecConfig", "InputError", "PackedSequences", "backends", "convert", "ops", "use_backend"]
