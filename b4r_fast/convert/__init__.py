"""Models trained elsewhere, as a BERT4Rec with their weights, and the way back."""

from .converted import Converted
from .huggingface import from_huggingface, to_huggingface
from .load import load

__all__ = ["Converted", "from_huggingface", "load", "to_huggingface"]
