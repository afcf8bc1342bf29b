"""A trained model in the form that other systems serve: an ONNX file or an exported program of
torch that recommends, or the vectors of items and users for a vector index.
"""

from .programs import to_onnx, to_torch
from .vectors import item_vectors, user_vectors, write_vectors

__all__ = ["item_vectors", "to_onnx", "to_torch", "user_vectors", "write_vectors"]
