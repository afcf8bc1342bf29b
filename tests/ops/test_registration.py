"""What holds for every op alike: torch.library's own checks, gradients against finite differences,
compilation, determinism.
"""

from importlib import import_module

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from b4r_fast import backends, ops, use_backend

from .cases import CASES, DIFFERENTIABLE, D, T, cases
from .held import held
from .shaped import SHAPED


def test_the_tables_of_cases_hold_every_op():
    """Or an op would have no opcheck, no compilation, no comparison of backends."""
    assert {name.partition(" ")[0] for name in CASES} >= {*ops.__all__}
    assert {*SHAPED} >= {*ops.__all__}


class RecordedCalls(TorchDispatchMode):
    """The calls of b4r_fast operators that pass by, backward too, with their arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "b4r_fast":
            self.calls.append((function, args))
        return function(*args, **(kwargs or {}))


def run(name: str, dtype: torch.dtype, device: torch.device) -> tuple:
    case = cases(device)[name]
    tensors = [
        t.detach().to(dtype).requires_grad_(t.requires_grad) for t in case.tensors(torch.float64)
    ]
    out = case.call(*tensors)
    out = out if isinstance(out, tuple) else (out,)
    if name in DIFFERENTIABLE:
        return *out, *torch.autograd.grad(out[0].square().sum(), tensors)
    return out


HELD = [
    pytest.param(backend, name, marks=() if backend == "cpu" else pytest.mark.kernels)
    for backend, report in backends().items()
    if backend != "reference" and report.startswith("available")
    for name in CASES
    if name.partition(" ")[0] in held(backend)
]


def devices(backend: str) -> tuple[str, ...]:
    return import_module(f"b4r_fast.backends.{backend}").DEVICES


@pytest.mark.parametrize(("backend", "name"), HELD)
def test_every_backend_gives_what_the_reference_gives_in_fp64(backend, name, device):
    if device.type not in devices(backend):
        pytest.skip(f"{backend} takes no tensors on {device}")
    results = []
    for chosen, dtype in ((backend, torch.float32), ("reference", torch.float64)):
        torch.manual_seed(2)
        with use_backend(chosen):
            results.append(run(name, dtype, device))
    for ours, oracle in zip(*results):
        largest = (
            float(oracle.detach()[oracle.isfinite()].abs().max())
            if oracle.is_floating_point()
            else 0.0
        )
        torch.testing.assert_close(
            ours.to(oracle.dtype), oracle, rtol=0, atol=5e-6 * max(1.0, largest)
        )


# The same code without dropout has the others.
DROPS_A_RESULT = ("dropout", "embedding_layer_norm")
KEEPS_ALL = [
    name
    for name in DIFFERENTIABLE
    if name not in (*DROPS_A_RESULT, "joint_attention") and "drop" not in name
]
KEEPS_ALL.remove("attention of some queries")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    ("chosen", "name"), [held for held in HELD if held.values[1] in (*KEEPS_ALL, *DROPS_A_RESULT)]
)
def test_what_is_not_finite_stays_visible(chosen, name, value):
    """In every tensor in turn. What is dropped is 0 whatever it was."""
    tensors = [t.detach() for t in CASES[name].tensors(torch.float32)]
    for i, place in ((i, place) for i, t in enumerate(tensors) for place in (0, t.numel() // 2)):
        inputs = [t.clone() for t in tensors]
        inputs[i].view(-1)[place] = value
        inputs = [t.requires_grad_() for t in inputs]
        results = []
        for backend in (chosen, "reference"):
            with use_backend(backend):
                out = CASES[name].call(*inputs)
                results.append([out, *torch.autograd.grad(out.sum(), inputs)])
        # PyTorch's gradient of GELU by tanh is NaN at infinity, ours its limit, so gradients are
        # held to NaN alone.
        for ours, theirs in zip(*(r if value != value else r[:1] for r in results)):
            hidden = ours.isfinite() & ~theirs.isfinite()
            assert not (ours[hidden] != 0 if name in DROPS_A_RESULT else hidden).any()


@pytest.mark.parametrize("name", CASES)
def test_opcheck_passes(name, device):
    case = cases(device)[name]
    with RecordedCalls() as recorded:
        case.call(*case.tensors(torch.float32))
    assert recorded.calls
    for operator, args in recorded.calls:
        torch.library.opcheck(operator, args)


def transposed(x: torch.Tensor) -> torch.Tensor:
    """The same numbers by columns, an order that torch's own functions keep in their results."""
    backwards = tuple(reversed(range(x.dim())))
    copy = x.detach().permute(backwards).contiguous().permute(backwards)
    return copy.requires_grad_(x.requires_grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_transposed_inputs_serve_and_their_outputs_lie_as_a_compiler_expects(name, dtype, device):
    """Strides that the fake implementation did not promise are an error of torch.compile's."""
    case = cases(device)[name]
    tensors = [transposed(t) for t in case.tensors(dtype)]
    with RecordedCalls() as recorded:
        out = case.call(*tensors)
        if name in DIFFERENTIABLE:
            torch.autograd.grad(out, tensors, transposed(torch.ones_like(out)))
    for operator, args in recorded.calls:
        torch.library.opcheck(operator, args, test_utils="test_faketensor")
    expected = case.call(*(t.detach().contiguous() for t in tensors))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_those_of_finite_differences(name):
    case = CASES[name]
    assert torch.autograd.gradcheck(case.call, case.tensors(torch.float64))


@pytest.mark.parametrize("name", CASES)
def test_the_op_compiles_without_a_graph_break_and_gives_the_same(name, device):
    case = cases(device)[name]
    tensors = case.tensors(torch.float32)
    compiled = torch.compile(case.call, fullgraph=True, backend="aot_eager")
    ours, eager = compiled(*tensors), case.call(*tensors)
    torch.testing.assert_close(ours, eager, rtol=0, atol=0)
    if name in DIFFERENTIABLE:
        torch.testing.assert_close(
            torch.autograd.grad(ours.square().sum(), tensors),
            torch.autograd.grad(eager.square().sum(), tensors),
            rtol=1e-6,
            atol=1e-6,
        )


@pytest.mark.parametrize("name", CASES)
def test_two_runs_give_the_same_bits(name, device):
    first, second = [], []
    for results in (first, second):
        torch.manual_seed(1)
        results.extend(run(name, torch.float32, device))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_a_seed_of_none_follows_torchs_generator(device):
    x = torch.ones(50, 40, device=device)
    torch.manual_seed(3)
    first, second = ops.dropout(x, dropout_p=0.5), ops.dropout(x, dropout_p=0.5)
    torch.manual_seed(3)
    assert torch.equal(first, ops.dropout(x, dropout_p=0.5))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_second_derivative_is_refused(name):
    """It would come without what the kernels did not differentiate: 0, or a number that
    is wrong.
    """
    tensors = CASES[name].tensors(torch.float32)
    gradients = torch.autograd.grad(CASES[name].call(*tensors).sum(), tensors, create_graph=True)
    penalty = sum(g.square().sum() for g in gradients)
    with pytest.raises(RuntimeError, match=r"first derivatives only|to not have been used"):
        torch.autograd.grad(penalty, tensors, retain_graph=True)
    with pytest.raises(RuntimeError, match="b4r_fast has first derivatives only"):
        penalty.backward()


TRANSFORMS = {
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "jvp of a vmap": lambda f, x: torch.func.jvp(
        lambda x: torch.func.vmap(f)(x.expand(2, *x.shape)).sum(), (x,), (x,)
    ),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "grad": lambda f, x: torch.func.grad(f)(x),
    "grad of a vmap": lambda f, x: torch.func.grad(
        lambda x: torch.func.vmap(f)(x.expand(2, *x.shape)).sum()
    )(x),
    "hessian": lambda f, x: torch.func.hessian(f)(x),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_derivative_that_would_be_0_or_fail_inside_torch_is_refused(name, transform):
    """Forward mode went on with 0."""
    tensors = [t.detach() for t in CASES[name].tensors(torch.float32)]
    for i in range(len(tensors)):

        def f(x, i=i):
            return CASES[name].call(*tensors[:i], x, *tensors[i + 1 :]).sum()

        with pytest.raises(NotImplementedError, match=r"use torch\.autograd\.grad or backward"):
            TRANSFORMS[transform](f, tensors[i])


def test_a_dual_number_is_refused():
    x = torch.randn(T, D)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        ops.dropout(forward_ad.make_dual(x, x), dropout_p=0.5)


def test_what_does_not_depend_on_the_variable_may_stand_in_any_transform():
    x, loss = torch.randn(3), lambda x: x.sum() * CASES["softmax_loss"].call(*tensors)
    tensors = [t.detach() for t in CASES["softmax_loss"].tensors(torch.float32)]
    assert (torch.func.grad(loss)(x) != 0).all()
    assert torch.func.jvp(loss, (x,), (torch.ones(3),))[1] != 0


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_is_a_loop():
    tensors = [t.detach() for t in CASES["linear"].tensors(torch.float32)]
    many = torch.randn(4, *tensors[0].shape)
    mapped = torch.func.vmap(lambda x: ops.linear(x, *tensors[1:]))(many)
    assert torch.equal(mapped, torch.stack([ops.linear(x, *tensors[1:]) for x in many]))
