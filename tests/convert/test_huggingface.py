"""Against transformers' BertForMaskedLM, which nobody here wrote: with equal weights, equal logits
and gradients.
"""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM

from b4r_fast import PackedSequences
from b4r_fast.convert import from_huggingface

V, LENGTH, D = 40, 16, 32
MASK = V + 1


def huggingface(**changes) -> BertForMaskedLM:
    sizes = {
        "hidden_size": D,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    config = {
        "vocab_size": V + 2,
        "max_position_embeddings": LENGTH,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    model = BertForMaskedLM(BertConfig(**sizes | config | {"initializer_range": 0.2} | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # no bias 0, no norm weight 1
    return model.train()


def batch(padding: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids, labels = torch.randint(1, V + 1, (5, LENGTH)), torch.full((5, LENGTH), -100)
    for b, length in enumerate([16, 1, 7, 12, 15] if padding != "none" else [LENGTH] * 5):
        start = LENGTH - length if padding == "left" else 0
        places = start + torch.randperm(length)[: max(1, length // 3)]
        labels[b, places] = ids[b, places]
        ids[b, places] = MASK
        ids[b, :start] = 0
        ids[b, start + length :] = 0
    return ids, labels


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())


@pytest.mark.parametrize("padding", ["left", "right", "none"])
@pytest.mark.parametrize(
    "changes", [{}, {"hidden_act": "gelu_new"}, {"tie_word_embeddings": False}]
)
def test_logits_and_every_gradient_agree(padding, changes):
    theirs = huggingface(**changes)
    ours = from_huggingface(theirs)
    ids, labels = batch(padding)
    labelled = labels != -100

    real = ids != 0
    positions = (real.cumsum(1) - 1).clamp(min=0)
    their_logits = theirs(
        ids,
        attention_mask=real.long(),
        position_ids=positions,
        token_type_ids=torch.zeros_like(ids),
    ).logits
    their_logits = their_logits[labelled][:, 1 : V + 1]
    their_loss = cross_entropy(their_logits, labels[labelled] - 1)
    their_loss.backward()

    out = ours(ids, labels)
    out.loss.backward()
    assert relative(out.loss, their_loss) < 1e-5
    assert (
        relative(out.hidden_states @ ours.item_embeddings.T + ours.output_bias, their_logits) < 1e-5
    )

    # The gradients of Hugging Face's parameters, laid out as ours: the conversion of weights is
    # linear, so it converts gradients too.
    gradients = huggingface(**changes)
    with torch.no_grad():
        for (name, parameter), source in zip(gradients.named_parameters(), theirs.parameters()):
            parameter.copy_(
                torch.zeros_like(source)
                if source.grad is None or "token_type" in name
                else source.grad
            )
    expected = from_huggingface(gradients).state_dict()
    for name, parameter in ours.named_parameters():
        # A key's bias moves all scores of a query alike, so its true gradient is 0 and what both
        # compute is rounding.
        parts = (
            zip(parameter.grad.chunk(3), expected[name].chunk(3))
            if "qkv.bias" in name
            else [(parameter.grad, expected[name])]
        )
        for ours_part, theirs_part in [*parts][:: 2 if "qkv.bias" in name else 1]:
            assert relative(ours_part, theirs_part) < 1e-5, name


def test_a_whole_sequence_without_labels_agrees_too():
    theirs = huggingface().eval()
    ours = from_huggingface(theirs)
    ids = torch.randint(1, V + 1, (1, 9))
    logits = theirs(ids).logits[0, :, 1 : V + 1]
    hidden = ours(PackedSequences.from_padded(ids)).hidden_states
    assert relative(hidden @ ours.item_embeddings.T + ours.output_bias, logits) < 1e-5
    assert not ours.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act must be one of"),
        ({"pad_token_id": 3}, "pad_token_id must be 0, got 3"),
        ({"is_decoder": True}, "a decoder masks the future"),
    ],
)
def test_a_model_that_has_no_bert4rec_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        from_huggingface(huggingface(**changes))
