"""A step of fixed shapes trains as the plain one does: on a GPU recorded, on the CPU as it would be
recorded.
"""

import math

import pytest
import torch

from b4r_fast import BERT4Rec, BERT4RecConfig, CapturedStep, PackedSequences, ops
from b4r_fast.backends import triton
from b4r_fast.captured_step import NEXT_STEP

CONFIG = BERT4RecConfig(
    num_items=40,
    max_length=12,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    hidden_dropout=0.0,
    attention_dropout=0.0,
)
BATCHES = [
    [[1, 5, 9, 3, 7], [40], [3, 39, 8, 2, 2, 40, 6]],
    [[4, 4, 17]],
    [[12] * 12, [7, 31], [2, 8], [9]],
]


def models(**changes) -> tuple[BERT4Rec, BERT4Rec]:
    """Two of the same weights."""
    config = BERT4RecConfig(**{**vars(CONFIG), **changes})
    first, second = BERT4Rec(config), BERT4Rec(config)
    second.load_state_dict(first.state_dict())
    return first, second


def adamw(model: BERT4Rec) -> torch.optim.AdamW:
    on_gpu = next(model.parameters()).device.type != "cpu"
    return torch.optim.AdamW(model.parameters(), lr=0.01, fused=on_gpu, capturable=on_gpu)


@pytest.mark.parametrize(
    "changes", [{}, {"norm": "pre", "final_norm": True}, {"loss": "sampled", "num_negatives": 7}]
)
def test_padding_to_one_shape_changes_nothing(changes, device):
    """Nor does the recording: on a GPU there are more steps than warm it up."""
    if device.type != "cpu" and not torch.cuda.is_available():
        pytest.skip("what stands in for a GPU records nothing")
    plain, filled = (model.to(device) for model in models(**changes))
    optimizer = adamw(plain)
    step = CapturedStep(
        filled, adamw(filled), tokens=30, sequences=5, mask_prob=0.3, last_only=0.2, seed=3
    )
    seeds = step.seeds.clone()
    for lists in BATCHES * (1 if device.type == "cpu" else 2):
        batch = PackedSequences.from_lists(lists).to(device)
        seeds += NEXT_STEP
        inputs, labels = ops.cloze_mask(
            batch.values, batch.cu_seqlens, mask_prob=0.3, last_only=0.2, mask_id=41, seed=seeds[0]
        )
        loss = plain(
            PackedSequences(inputs, batch.cu_seqlens, batch.max_seqlen), labels, seed=seeds[1]
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(step(batch), loss.detach())
    for ours, theirs in zip(filled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_every_step_has_masks_and_dropout_of_its_own():
    model = BERT4Rec(BERT4RecConfig(**{**vars(CONFIG), "hidden_dropout": 0.5}))
    step = CapturedStep(
        model, torch.optim.SGD(model.parameters(), lr=0.0), tokens=30, sequences=5, mask_prob=0.3
    )
    losses = [step(PackedSequences.from_lists(BATCHES[0])).item() for _ in range(6)]
    assert len(set(losses)) == 6
    again = CapturedStep(
        model, torch.optim.SGD(model.parameters(), lr=0.0), tokens=30, sequences=5, mask_prob=0.3
    )
    assert losses == [again(PackedSequences.from_lists(BATCHES[0])).item() for _ in range(6)]


def test_gradients_are_limited_to_the_norm_that_is_asked_for():
    model = BERT4Rec(CONFIG)
    step = CapturedStep(model, adamw(model), tokens=30, sequences=5, mask_prob=0.3, max_norm=1e-3)
    step(PackedSequences.from_lists(BATCHES[0]))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparse_gradients": True, "loss": "sampled"}, "use dense gradients"),
        ({"hidden_size": 320}, "heads of 160 columns in torch.float32 cannot be recorded"),
        (
            {"hidden_size": 200},
            "heads of 100 columns in torch.float32 cannot be recorded.*a multiple of 16 up to"
            " 128 columns; in bf16",
        ),
        ({}, "capturable=True"),
    ],
)
def test_what_cannot_be_recorded_is_refused(changes, message):
    pytest.importorskip("triton", reason="triton is not installed")
    with torch.device("meta"):
        model = BERT4Rec(BERT4RecConfig(**{**vars(CONFIG), **changes}))
    with pytest.raises(ValueError, match=message):
        CapturedStep(
            model, torch.optim.AdamW(model.parameters()), tokens=30, sequences=5, mask_prob=0.3
        )


def test_a_gpu_without_triton_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(triton, "UNAVAILABLE", "triton is not installed")
    with torch.device("meta"):
        model = BERT4Rec(CONFIG)
    with pytest.raises(
        ValueError,
        match=r"a step is recorded with the Triton kernels alone.*: triton is not installed",
    ):
        CapturedStep(
            model,
            torch.optim.AdamW(model.parameters(), capturable=True),
            tokens=30,
            sequences=5,
            mask_prob=0.3,
        )


def test_a_batch_beyond_the_capacity_is_refused_and_leaves_the_step_alone():
    model = BERT4Rec(CONFIG)
    step = CapturedStep(model, adamw(model), tokens=10, sequences=3, mask_prob=0.3)
    with pytest.raises(
        ValueError, match="at most 10 tokens, 4 sequences and 12 tokens a sequence, got 13, 3 and 7"
    ):
        step(PackedSequences.from_lists(BATCHES[0]))
    assert step(PackedSequences.from_lists(BATCHES[1])).isfinite()
