import pytest
import torch
from torch.nn.functional import gelu, linear

from b4r_fast import ops


# No token, one, sizes off any tile, the shape of the paper.
@pytest.mark.parametrize(("t", "d", "f"), [(0, 4, 8), (1, 3, 5), (50, 64, 256)])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_it_is_two_linear_layers_around_gelu(t, d, f, approximate):
    tensors = [torch.randn(shape, requires_grad=True) for shape in ((t, d), (f, d), (f,), (d, f), (d,))]
    x, w1, b1, w2, b2 = tensors
    ours = ops.gelu_ffn(*tensors, approximate=approximate)
    theirs = linear(gelu(linear(x, w1, b1), approximate=approximate), w2, b2)
    torch.testing.assert_close(ours, theirs)
    dy = torch.randn_like(theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, tensors, dy), torch.autograd.grad(theirs, tensors, dy), rtol=1e-4, atol=1e-4)


def test_wrong_arguments_are_named():
    x, w1, b1, w2, b2 = (torch.randn(shape) for shape in ((2, 4), (8, 4), (8,), (4, 8), (4,)))
    with pytest.raises(ValueError, match=r"w2 must have shape \(d, f\) with d=4, f=8, got \(8, 4\)"):
        ops.gelu_ffn(x, w1, b1, w2.T, b2)
    with pytest.raises(ValueError, match="approximate must be one of 'none', 'tanh', got 'erf'"):
        ops.gelu_ffn(x, w1, b1, w2, b2, approximate="erf")
