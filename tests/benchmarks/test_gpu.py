"""What is measured on a GPU, without one: its peers with stand-ins of their own signatures, and all
contenders on a stand-in of a GPU.
"""

import sys
import types
from functools import partial

import pytest
import torch
import torch.nn.attention.flex_attention
from torch.nn import functional as F

from b4r_fast import ops as our_ops
from benchmarks import machine, ops, peers, report, suite, worker

from ..without_a_gpu import stand_in
from .tiny import tiny_batch, tiny_work


# With the signatures of flash-attn, cut-cross-entropy and liger-kernel, so that a call that they
# would not take fails here.
def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0,
    softmax_scale=None, causal=False,
    window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False,
    return_attn_probs=False, block_table=None,
):  # fmt: skip
    return our_ops.attention(
        q,
        k,
        v,
        cu_seqlens_k,
        max_seqlen_k,
        cu_seqlens_q=cu_seqlens_q,
        dropout_p=dropout_p,
        scale=softmax_scale,
    )


def linear_cross_entropy(
    e, c, targets, bias=None, ignore_index=-100, softcap=None, reduction="mean", shift=0,
    filter_eps="auto", accum_e_fp32=False, accum_c_fp32=False, filter_e_grad=True,
    filter_c_grad=True, impl="cce", vocab_parallel_options=None,
):  # fmt: skip
    return F.cross_entropy(F.linear(e, c, bias), targets, reduction=reduction)


class LigerFusedLinearCrossEntropyLoss(torch.nn.Module):
    def __init__(self, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        super().__init__()

    def forward(self, lin_weight, _input, target, bias=None):
        return F.cross_entropy(F.linear(_input, lin_weight, bias), target)


STAND_INS = {
    "flash_attn": flash_attn_varlen_func,
    "cut_cross_entropy": linear_cross_entropy,
    "liger_kernel.transformers": LigerFusedLinearCrossEntropyLoss,
}


def varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal, scale, *_):
    """Of the operator below torch's own varlen_attn."""
    return (
        our_ops.attention(query, key, value, cu_seq_k, max_k, cu_seqlens_q=cu_seq_q, scale=scale),
        None,
        None,
    )


@pytest.fixture
def installed(monkeypatch):
    for name, function in STAND_INS.items():
        module = types.ModuleType(name)
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "liger_kernel", types.ModuleType("liger_kernel"))
    pytest.importorskip("torch.nn.attention.varlen")
    monkeypatch.setattr(torch.ops.torch_attn, "_varlen_attn", varlen_attn)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    # It refuses a backward on the CPU.
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_validate_device", lambda *_: None)


ON_GPU = {name: case for case in ops.CASES.values() for name in case.on_gpu}


@pytest.mark.parametrize("name", ON_GPU)
def test_a_peer_of_a_gpu_computes_what_the_op_computes(name, installed):
    case = ON_GPU[name]
    work, options = tiny_work(case.work), case.options | ({"dropout": 0.0} if case.options else {})
    batch = tiny_batch(work)
    ours, theirs = (case.contenders[each](work, **options) for each in ("b4r_fast", name))
    for op in (ours, theirs):
        op.load(batch)
    out, their_out = ours.forward(), theirs.forward()
    torch.testing.assert_close(theirs.canonical(batch, their_out), out)
    ours.incoming, theirs.incoming = torch.ones_like(out), torch.ones_like(their_out)
    for gradient, their_gradient in zip(
        ours.backward(out), theirs.backward(their_out), strict=True
    ):
        torch.testing.assert_close(theirs.canonical(batch, their_gradient), gradient)


@pytest.mark.parametrize("name", ["FlexAttention, compiled", "varlen_attn"])
def test_a_peer_without_dropout_is_not_measured_with_it(name, installed):
    with pytest.raises(ValueError, match="it has no dropout"):
        ops.CASES["attention, dropout, ML-1M"].contenders[name](tiny_work(), dropout=0.1)


def test_a_gpu_has_its_own_peers_and_a_cpu_has_none_of_them():
    for comparisons in (suite.quick(), suite.full()):
        assert not any(name in ON_GPU for comparison in comparisons for name in comparison.peers)
        on_gpu = suite.on_gpu(comparisons)
        assert {name for comparison in on_gpu for name in comparison.peers} >= {
            *ON_GPU,
            "recorded",
            "eager",
            "compile",
            "SDPA, padded",
        }
        assert not any(
            {"onnxruntime", "b4r_fast"} & comparison.peers.keys() for comparison in on_gpu
        )
        assert all(
            mallocs == suite.DEFAULT
            for comparison in on_gpu
            for mallocs in comparison.peers.values()
        )


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(suite, "batch_of", tiny_batch)
    missing = suite.Comparison("op", "ml-1m", {"Liger": suite.DEFAULT}, "softmax_loss, ML-1M")
    rows = suite.carry_out(missing, suite.Effort(0, 2), 1, lambda line: None, work=tiny_work())
    assert rows[1]["error"].startswith("not installed: liger_kernel")


SIZES = {"topk_one_user": {"num_items": 40}}


def all_on_stand_in() -> None:
    """In a process of its own: every contender that nothing compiles, made as worker.py makes it on
    a GPU, and run.
    """
    stand_in.install()
    for case in ops.CASES.values():
        for contender in case.module.CONTENDERS.values():
            options = case.options | SIZES.get(case.op, {})
            run_on_stand_in(
                lambda work, make=contender, options=options: make(work, **options),
                tiny_work(case.work),
                torch.bfloat16,
            )
    for name in ("b4r_fast", "eager", "eager-unpadded", "huggingface"):
        run_on_stand_in(partial(peers.build_training, name), tiny_work(), torch.float32)
    run_on_stand_in(
        partial(peers.build_training, "eager"), tiny_work("beauty-sampled"), torch.float32
    )
    for name in ("b4r_fast", "eager"):
        with torch.no_grad():
            run_on_stand_in(partial(peers.build_recommendation, name), tiny_work(), torch.float32)


def run_on_stand_in(make, work, dtype: torch.dtype) -> None:
    with worker.defaults(stand_in.NAME, dtype):
        contender = make(work)
        contender.load(tiny_batch(work).to(stand_in.NAME))
    # Its forward is in inference mode.
    contender.recommend() if hasattr(contender, "recommend") else worker.run(contender)
    tensors = contender.inputs if hasattr(contender, "inputs") else contender.model.parameters()
    assert all(tensor.device.type == stand_in.NAME and tensor.dtype == dtype for tensor in tensors)


@pytest.mark.kernels
@pytest.mark.skipif(stand_in.UNAVAILABLE is not None, reason=str(stand_in.UNAVAILABLE))
def test_contenders_keep_what_they_make_on_the_device():
    done = stand_in.run(
        "-c", "from tests.benchmarks.test_gpu import all_on_stand_in; all_on_stand_in()"
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_report_says_what_was_measured_on_a_gpu(tmp_path):
    described = machine.description("cpu") | {"gpu": "A GPU, CUDA 99"}
    results = {
        "date": "2026-01-01",
        "effort": "quick",
        "device": "cuda",
        "limits": machine.how_measured("cuda"),
        "machine": described,
    }
    text = report.markdown(results | {"rows": []})
    assert "A GPU, CUDA 99; " in text
    assert "ops in bf16" in text
    assert "Goals" not in text


def test_what_a_gpu_moves_is_counted_in_halves():
    work = tiny_work()
    comparison = suite.Comparison("op", "ml-1m", {}, "residual_layer_norm, ML-1M")
    counts = [
        suite.useful(comparison, work, tiny_batch(work), suite.dtype_of("op", device))[1]
        for device in ("cpu", "cuda")
    ]
    assert counts[0] == {part: 2 * number for part, number in counts[1].items()}
    assert suite.dtype_of("training", "cuda") == "float32"
