"""Every op in plain PyTorch, dropout and sampling bits included: the definition of right, on any
device and in any floating dtype.

The ops that join others call those through the dispatch: where a backend has no kernel for a joined
op, it serves the parts.
"""

import torch

from .. import gather

DEVICES = ("cpu", "cuda")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
UNAVAILABLE = None
OPERATORS = gather(__name__, __path__)
