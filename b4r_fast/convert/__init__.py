"""Models trained elsewhere, as a BERT4Rec with their weights."""

from .huggingface import from_huggingface

__all__ = ["from_huggingface"]
