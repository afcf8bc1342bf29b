"""Transformers' BertForMaskedLM with its training step computed here. The other packages are held
to the same by tests.peers.check, in their own environments.
"""

import warnings

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from b4r_fast.integrations import huggingface
from b4r_fast.integrations.patch import CannotServe, Patch

V, LENGTH, D = 40, 12, 16
ORIGINAL = BertForMaskedLM.forward


@pytest.fixture(autouse=True)
def _unpatched():
    yield
    huggingface.unpatch()
    assert BertForMaskedLM.forward is ORIGINAL


def bert(**changes) -> BertForMaskedLM:
    torch.manual_seed(0)
    config = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} | changes
    return BertForMaskedLM(
        BertConfig(
            vocab_size=V + 2,
            hidden_size=D,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=LENGTH,
            initializer_range=0.2,
            **config,
        )
    ).train()


def batch(padding: str = "right", seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, V + 1, (6, LENGTH), generator=generator)
    lengths = torch.tensor([12, 1, 7, 3, 9, 5])[:, None]
    places = torch.arange(LENGTH)
    real = places >= LENGTH - lengths if padding == "left" else places < lengths
    hidden = real & (torch.rand(6, LENGTH, generator=generator) < 0.4)
    hidden[0, 3] = True
    labels = torch.where(hidden, ids, -100)
    ids = torch.where(hidden, V + 1, ids) * real
    return {"input_ids": ids, "attention_mask": real.long(), "labels": labels}


def loss_and_gradients(model, **inputs) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **{name: grad.clone() for name, grad in gradients.items()}}


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize(
    "changes", [{}, {"hidden_act": "gelu_new"}, {"tie_word_embeddings": False}]
)
def test_the_loss_and_all_gradients_are_theirs(padding, changes):
    """Positions too: a batch that is padded on the left has those of its padded places."""
    model = bert(**changes)
    theirs = loss_and_gradients(model, **batch(padding))
    with huggingface.patch(), warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = loss_and_gradients(model, **batch(padding))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        scale = max(float(value.abs().max()), 1e-2)  # the gradient of a key's bias is rounding
        assert (ours[name] - value).abs().max() <= 1e-5 * scale, name


def test_ids_of_positions_and_token_types_are_heeded():
    model, inputs = bert(), batch()
    inputs["position_ids"] = torch.arange(LENGTH).flip(0)[None]
    inputs["token_type_ids"] = (torch.arange(LENGTH) % 2).expand(6, LENGTH)
    theirs = loss_and_gradients(model, **inputs)
    with huggingface.patch():
        assert torch.allclose(loss_and_gradients(model, **inputs)["loss"], theirs["loss"])


def test_fifty_steps_have_the_same_losses():
    def curve() -> list[float]:
        model, losses = bert(), []
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(50):
            loss = model(**batch(seed=step)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    theirs = curve()
    with huggingface.patch():
        ours = curve()
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert theirs[-1] < theirs[0]


def test_dropout_drops_other_elements_and_as_many():
    model = bert(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)

    def mean_loss() -> float:
        torch.manual_seed(1)
        return torch.stack([model(**batch()).loss.detach() for _ in range(200)]).mean().item()

    theirs = mean_loss()
    with huggingface.patch():
        ours = mean_loss()
        assert ours == mean_loss()  # of one seed, the same
    assert ours == pytest.approx(theirs, rel=0.03)


def test_what_is_no_training_step_is_as_it_was():
    model = bert().eval()
    theirs = model(**batch())
    with huggingface.patch():
        ours = model(**batch())
        without_labels = model.train()(batch()["input_ids"])
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.loss, theirs.loss)
    assert without_labels.logits.shape == (6, LENGTH, V + 2)


@pytest.mark.parametrize(
    ("changes", "more", "reason"),
    [
        ({"hidden_act": "relu"}, {}, "its activation is relu"),
        ({}, {"output_hidden_states": True}, "output_hidden_states asked for"),
    ],
)
def test_what_cannot_be_served_goes_on_and_is_said_once(changes, more, reason):
    model = bert(**changes)
    theirs = model(**batch(), **more)
    patched = huggingface.patch()
    patched._said.clear()
    with pytest.warns(UserWarning, match=f"leaves a training step to transformers: {reason}"):
        ours = model(**batch(), **more)
    assert torch.equal(ours.loss, theirs.loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(**batch(), **more)


def test_a_module_that_somebody_hooked_is_called():
    model, seen = bert(), []
    model.cls.predictions.transform.dense.register_forward_hook(lambda *_: seen.append(1))
    patched = huggingface.patch()
    patched._said.clear()
    with pytest.warns(UserWarning, match="a part of its network was replaced, or has a hook"):
        model(**batch())
    assert seen


def test_a_state_dict_is_that_of_the_package_and_patching_twice_is_patching_once():
    before = bert().state_dict()
    huggingface.patch()
    huggingface.patch()
    after = bert().state_dict()
    assert before.keys() == after.keys()
    huggingface.unpatch()
    huggingface.unpatch()


def test_a_patch_is_undone_when_its_block_fails():
    class Package:
        def step(self, x):
            return x

    def step(self, x):
        if x > 2:
            raise CannotServe("more than 2")
        return -x

    def fail(patch):
        with patch.apply():
            assert Package().step(1) == -1
            with pytest.warns(UserWarning, match="a training step to package: more than 2"):
                assert Package().step(3) == 3
            raise KeyError

    with pytest.raises(KeyError):
        fail(Patch("package", lambda: {(Package, "step"): step}))
    assert Package().step(1) == 1
