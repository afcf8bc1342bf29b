"""y = x * keep / keep_rate, keep from (seed, row, column). docs/dropout.md. Its own backward: the
same op on the gradient.
"""

from torch import Tensor

from .philox import keep_scale


def dropout(x: Tensor, dropout_p: float, seed: Tensor) -> Tensor:
    return x * keep_scale(seed, dropout_p, x)


OPERATORS = (dropout,)
