import pytest
import torch
from torch.nn.functional import gelu, linear

from b4r_fast import ops

from .accuracy import assert_as_accurate_as_torch

# No token, one, sizes off any tile, the shape of the paper. No row; sizes below a panel; the
# paper's, over one block and one chunk of rows; more hidden columns than a slab, none a multiple of
# 16.
SHAPES = [(0, 4, 8), (1, 3, 5), (50, 64, 256), (2100, 64, 256), (130, 33, 300)]


@pytest.mark.parametrize(("t", "d", "f"), SHAPES)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_it_is_two_linear_layers_around_gelu(t, d, f, approximate):
    def theirs(x, w1, b1, w2, b2):
        return linear(gelu(linear(x, w1, b1), approximate=approximate), w2, b2)

    tensors = [
        torch.randn(t, d),
        torch.randn(f, d),
        torch.randn(f),
        torch.randn(d, f),
        torch.randn(d),
    ]
    assert_as_accurate_as_torch(
        lambda *args: ops.gelu_ffn(*args, approximate=approximate), theirs, tensors
    )


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_right_from_the_far_left_to_the_far_right(approximate):
    """One hidden unit: y = GELU(x), its derivative is the gradient of x."""
    x = torch.cat([torch.linspace(-14, 14, 20_001), torch.tensor([-1e30, -100.0, 100.0, 1e30])])[
        :, None
    ]
    one, zero = torch.ones(1, 1), torch.zeros(1)

    def through_the_op(x):
        return ops.gelu_ffn(x, one, zero, one, zero, approximate=approximate)

    assert_as_accurate_as_torch(
        through_the_op, lambda x: gelu(x, approximate=approximate), [x[:-4]]
    )
    x.requires_grad_()
    y = through_the_op(x)
    torch.testing.assert_close(y[-4:, 0], torch.tensor([0.0, 0.0, 100.0, 1e30]))
    torch.testing.assert_close(
        torch.autograd.grad(y.sum(), x)[0][-4:, 0], torch.tensor([0.0, 0.0, 1.0, 1.0])
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_visible(value):
    x = torch.randn(20, 16)
    x[7, 3] = value
    y = ops.gelu_ffn(x, torch.randn(40, 16), torch.randn(40), torch.randn(16, 40), torch.randn(16))
    assert not y[7].isfinite().any()
    assert y[torch.arange(20) != 7].isfinite().all()


def test_wrong_arguments_are_named():
    x, w1, b1, w2, b2 = (torch.randn(shape) for shape in ((2, 4), (8, 4), (8,), (4, 8), (4,)))
    with pytest.raises(
        ValueError, match=r"w2 must have shape \(d, f\) with d=4, f=8, got \(8, 4\)"
    ):
        ops.gelu_ffn(x, w1, b1, w2.T, b2)
    with pytest.raises(ValueError, match="approximate must be one of 'none', 'tanh', got 'erf'"):
        ops.gelu_ffn(x, w1, b1, w2, b2, approximate="erf")
