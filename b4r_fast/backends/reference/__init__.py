"""Every op in plain PyTorch, dropout and sampling bits included: the definition of right, on any
device and in any floating dtype.

The ops that join others call those through the dispatch: where a backend has no kernel for a joined
op, it serves the parts.
"""

import functools
from collections.abc import Callable

import torch

from .. import gather
from ..addresses import contiguous

DEVICES = ("cpu", "cuda")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
UNAVAILABLE = None


def _contiguous_results(operator: Callable) -> Callable:
    """As the kernels of other backends write them, and as a compiler expects: PyTorch's functions
    keep the strides of transposed inputs.
    """

    @functools.wraps(operator)
    def run(*args):
        results = operator(*args)
        return contiguous(*results) if isinstance(results, tuple) else contiguous(results)[0]

    return run


OPERATORS = {
    name: _contiguous_results(operator) for name, operator in gather(__name__, __path__).items()
}
