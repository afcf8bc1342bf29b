"""What registration with torch.library costs: python benchmarks/registration.py."""

import statistics
import time

import torch

from b4r_fast import ops
from b4r_fast.backends import implementation


def overhead_of_registration() -> float:
    """Time of one small op call forward + backward, over that of an autograd.Function around the
    same kernels; a median of ratios.
    """
    x, s, w, b = (
        torch.randn(shape, requires_grad=True) for shape in ((11, 8), (11, 8), (8,), (8,))
    )
    dy = torch.randn_like(x)
    forward, backward = (
        implementation(name, x) for name in ("residual_layer_norm", "residual_layer_norm_backward")
    )

    class Bare(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, s, w, b):
            y, mean, rstd = forward(x, s, w, b, 1e-6, 0.0, None)
            ctx.save_for_backward(x, s, w, mean, rstd)
            return y

        @staticmethod
        def backward(ctx, dy):
            return backward(dy, *ctx.saved_tensors, 0.0, None)

    def seconds(call) -> float:
        start = time.perf_counter()
        for _ in range(50):
            torch.autograd.grad(call(x, s, w, b), (x, s, w, b), dy)
        return time.perf_counter() - start

    def op(x, s, w, b):
        return ops.residual_layer_norm(x, s, w, b, eps=1e-6)

    seconds(op), seconds(Bare.apply)
    return statistics.median(seconds(op) / seconds(Bare.apply) for _ in range(15))


if __name__ == "__main__":
    print(
        "registered op / bare autograd.Function, forward + backward:"
        f" {overhead_of_registration():.2f}"
    )
