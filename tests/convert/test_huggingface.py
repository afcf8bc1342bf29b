"""Against transformers' BertForMaskedLM, which nobody here wrote: with equal weights, equal logits
and gradients.
"""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM

from b4r_fast import BERT4Rec, BERT4RecConfig, PackedSequences
from b4r_fast.convert import from_huggingface, load, to_huggingface

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
        ({"pad_token_id": None}, "pad_token_id must be the token of padding"),
        ({"sep_token_id": 3}, r"more than padding, items and \[MASK\] \(sep_token_id is 3\)"),
        ({"is_decoder": True}, "a decoder masks the future"),
    ],
)
def test_a_model_that_has_no_bert4rec_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        from_huggingface(huggingface(**changes))


def test_relative_positions_of_transformers_4_are_refused():
    """They were converted as if they were absolute, without a word."""
    model = huggingface()
    model.config.position_embedding_type = "relative_key"
    with pytest.raises(ValueError, match="position_embedding_type must be 'absolute'"):
        from_huggingface(model)


def test_padding_and_the_mask_may_be_any_tokens():
    theirs = huggingface(pad_token_id=7, sep_token_id=3).eval()
    ours = from_huggingface(theirs, mask_id=2)
    items = [token for token in range(V + 2) if token not in (2, 7)]
    ids = torch.randint(1, V + 1, (1, 9))
    logits = theirs(torch.tensor(items)[ids - 1]).logits[0, :, items]
    hidden = ours(ids).hidden_states
    assert relative(hidden @ ours.item_embeddings.T + ours.output_bias, logits) < 1e-5
    with pytest.raises(ValueError, match="mask_id must be a token below 42 and not padding, got 7"):
        from_huggingface(theirs, mask_id=7)


def test_the_items_of_a_vocabulary_are_what_is_not_special(tmp_path):
    theirs = huggingface().eval()
    theirs.save_pretrained(tmp_path)
    words = ["[PAD]", "[CLS]", *(f"i{n}" for n in range(V - 1)), "[MASK]"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    found = load(tmp_path)
    assert found.item_ids == words[2:-1]
    ids = torch.tensor([[3, 9, 4]])
    logits = theirs(ids + 1).logits[0, :, 2:-1]
    ours = found.model
    assert (
        relative(ours(ids).hidden_states @ ours.item_embeddings.T + ours.output_bias, logits) < 1e-5
    )
    (tmp_path / "vocab.txt").write_text("\n".join([*words[:-1], "<mask>"]) + "\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: has no \[MASK\]; say with `mask_id`"):
        load(tmp_path)
    assert load(tmp_path, mask_id=V + 1).item_ids == words[2:-1]


@pytest.mark.parametrize(
    "variant",
    [{}, {"tie_embeddings": False}, {"output_bias": False}, {"activation": "gelu_tanh"}],
)
def test_there_and_back_again_is_the_same_model(variant, tmp_path):
    config = BERT4RecConfig(num_items=V, max_length=LENGTH, hidden_size=D, **variant)
    ours = BERT4Rec(config)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.3)
    theirs = to_huggingface(ours.eval())
    histories = torch.randint(1, V + 1, (3, 9))
    ids = torch.nn.functional.pad(histories, (0, 1), value=MASK)
    logits = theirs(ids).logits[:, -1]
    scores = ours.score(histories)[:, 1:]
    assert relative(logits[:, 1:-1], scores) < 1e-5
    probabilities = logits.softmax(1)
    assert relative(probabilities[:, 1:-1], scores.softmax(1)) < 1e-4
    assert torch.equal(probabilities[:, [0, -1]], torch.zeros(3, 2))
    theirs.save_pretrained(tmp_path)
    for back in (from_huggingface(theirs), load(tmp_path).model):
        assert not back.training
        assert relative(back.score(histories)[:, 1:], scores) < 1e-6


@pytest.mark.parametrize("variant", [{"norm": "pre"}, {"positions_from": "end"}])
def test_a_variant_that_hugging_face_has_not_is_refused(variant):
    model = BERT4Rec(BERT4RecConfig(num_items=5, hidden_size=8, **variant))
    with pytest.raises(ValueError, match=f"a BertForMaskedLM has {next(iter(variant))}="):
        to_huggingface(model)
