"""The ops that join others give what their parts give one by one, masks included, in every backend;
and name what is wrong.
"""

import pytest
import torch

from b4r_fast import backends, ops, use_backend

T, D, A, F = 9, 8, 6, 20
SEED = torch.tensor(-3)
BACKENDS = [name for name, report in backends().items() if report.startswith("available")]


def joined(name: str, *tensors: torch.Tensor) -> torch.Tensor:
    options = {} if name == "linear_gelu_layer_norm" else {"dropout_p": 0.4, "seed": SEED}
    return getattr(ops, name)(*tensors, eps=1e-6, **options)


def residual_linear_layer_norm(a, w, b, x, weight, bias):
    return ops.residual_layer_norm(
        x, ops.linear(a, w, b), weight, bias, eps=1e-6, dropout_p=0.4, seed=SEED
    )


def residual_ffn_layer_norm(x, w1, b1, w2, b2, weight, bias):
    return ops.residual_layer_norm(
        x, ops.gelu_ffn(x, w1, b1, w2, b2), weight, bias, eps=1e-6, dropout_p=0.4, seed=SEED
    )


def linear_gelu_layer_norm(x, w, b, weight, bias):
    return torch.nn.functional.layer_norm(
        torch.nn.functional.gelu(ops.linear(x, w, b)), (D,), weight, bias, eps=1e-6
    )


SHAPES = {
    residual_linear_layer_norm: [(T, A), (D, A), (D,), (T, D), (D,), (D,)],
    residual_ffn_layer_norm: [(T, D), (F, D), (F,), (D, F), (D,), (D,), (D,)],
    linear_gelu_layer_norm: [(T, A), (D, A), (D,), (D,), (D,)],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parts", SHAPES, ids=lambda parts: parts.__name__)
def test_a_joined_op_is_its_parts(parts, backend):
    inputs = [torch.randn(shape, requires_grad=True) for shape in SHAPES[parts]]
    with use_backend(backend):
        results = [joined(parts.__name__, *inputs), parts(*inputs)]
        incoming = torch.randn(T, D)
        ours, theirs = ([out, *torch.autograd.grad(out, inputs, incoming)] for out in results)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("used", [(0, 1, 2), (1, 2), (0,), (2,)])
def test_a_selected_projection_is_its_parts_whichever_are_used(used, backend):
    x, w, b = (torch.randn(shape, requires_grad=True) for shape in ((T, D), (3 * A, D), (3 * A,)))
    rows = torch.tensor([7, 0, 3])
    with use_backend(backend):
        ours = ops.selected_projection(x, w, b, rows)
        theirs = x[rows], ops.linear(x[rows], w[:A], b[:A]), ops.linear(x, w[A:], b[A:])
        incoming = [torch.randn(part.shape) for part in theirs]
        gradients = [
            torch.autograd.grad(
                [some[i] for i in used], (x, w, b), [incoming[i] for i in used], allow_unused=True
            )
            for some in (ours, theirs)
        ]
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(*gradients):
        torch.testing.assert_close(
            mine, torch.zeros_like(mine) if other is None else other, rtol=1e-4, atol=1e-5
        )


def ones(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.ones(shape) for shape in shapes]


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        (
            ops.residual_linear_layer_norm,
            ones((2, 3), (4, 5), (4,), (2, 4), (4,), (4,)),
            "w must have shape",
        ),
        (
            ops.residual_ffn_layer_norm,
            ones((2, 3), (5, 3), (5,), (3, 5), (3,), (4,), (3,)),
            "weight must have shape",
        ),
        (
            ops.linear_gelu_layer_norm,
            ones((2, 3), (4, 3), (4,), (4,), (3,)),
            "bias must have shape",
        ),
        (
            ops.selected_projection,
            [*ones((2, 3), (4, 3), (4,)), torch.tensor([0])],
            "three parts of the same size",
        ),
        (
            ops.selected_projection,
            [*ones((2, 3), (6, 3), (6,)), torch.tensor([2])],
            "rows must be rows of x, 0 to 1",
        ),
        (
            ops.token_positions,
            [torch.tensor([0, 3], dtype=torch.int32), 4],
            "end with the number of elements, 4; got 0 and 3",
        ),
    ],
)
def test_wrong_arguments_are_named(op, arguments, message):
    options = {"eps": 1e-6} if op.__name__.endswith("norm") else {}
    with pytest.raises(ValueError, match=message):
        op(*arguments, **options)
