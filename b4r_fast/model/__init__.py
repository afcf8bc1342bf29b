"""The model: its configuration, and BERT4Rec composed from the ops."""

from .bert4rec import BERT4Rec, BERT4RecOutput, Recommendations
from .config import BERT4RecConfig

__all__ = ["BERT4Rec", "BERT4RecConfig", "BERT4RecOutput", "Recommendations"]
