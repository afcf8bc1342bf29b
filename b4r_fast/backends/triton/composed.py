"""The operators that join others, for sizes that their own kernels do not take: made of the other kernels and the libraries' products."""

from ..reference.composed import compose
from ..reference.linear import linear
from .gelu_ffn import gelu_ffn, gelu_ffn_backward
from .linear import linear_backward
from .residual_layer_norm import residual_layer_norm, residual_layer_norm_backward

PARTS = (linear, linear_backward, gelu_ffn, gelu_ffn_backward, residual_layer_norm, residual_layer_norm_backward)
COMPOSED = compose({part.__name__: part for part in PARTS})
