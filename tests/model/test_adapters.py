"""What somebody puts into the model is called: hooks, adapters, other classes. The fused ops read
weights alone, and would pass it by in silence.
"""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn.utils import prune

from b4r_fast import BERT4Rec

from .test_bert4rec import batch_and_labels, small

VARIANTS = [{}, {"norm": "pre", "final_norm": True}, {"activation": "gelu_tanh"}]
SEED = torch.tensor(3)


class SameLinear(nn.Linear):
    """Does what nn.Linear does, and is not known to."""


class SameNorm(nn.LayerNorm):
    pass


class SameEmbedding(nn.Embedding):
    pass


SAME = {nn.Linear: SameLinear, nn.LayerNorm: SameNorm, nn.Embedding: SameEmbedding}


def submodules(model: BERT4Rec) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if type(module) in SAME}


def gradients(model: BERT4Rec) -> list[torch.Tensor]:
    """The loss of a training step, dropout and all, and its gradients."""
    model.zero_grad()
    loss = model(*batch_and_labels(), seed=SEED).loss
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_forward_that_somebody_replaced_is_called(changes):
    """As accelerate does it, without a hook."""
    model = small(**changes)
    expected, called = [g.clone() for g in gradients(model)], set()
    for name, module in submodules(model).items():

        def wrapped(x, name=name, forward=module.forward):
            called.add(name)
            return forward(x)

        module.forward = wrapped
    torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-5)
    assert called == submodules(model).keys()


@pytest.mark.parametrize("changes", VARIANTS)
def test_any_module_may_be_of_another_class(changes):
    """Each in turn, and all: the same loss and gradients, and the same masks."""
    model = small(**changes)
    expected = [g.clone() for g in gradients(model)]
    replaced = submodules(model)
    for names in (*([name] for name in replaced), list(replaced)):
        for name in names:
            replaced[name].__class__ = SAME[type(replaced[name])]
        torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-5)
        for name in names:
            replaced[name].__class__ = type(replaced[name]).__base__


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_on_any_module_is_called(changes, register):
    model, called = small(**changes), set()
    for name, module in submodules(model).items():
        getattr(module, register)(lambda *_, name=name: called.add(name))
    gradients(model)
    assert called == submodules(model).keys()


def test_a_lora_adapter_of_peft_changes_the_loss_and_trains():
    """It was left out in silence: the same loss, and no gradient for the adapter."""
    torch.manual_seed(1)
    model = small(hidden_dropout=0.0, attention_dropout=0.0)
    batch = batch_and_labels()
    before = model(*batch).loss.item()
    targets = ["qkv", "attention_output", "ffn_in", "ffn_out", "dense"]
    lora = LoraConfig(r=4, target_modules=targets, init_lora_weights=False)
    adapted = inject_adapter_in_model(lora, model)
    optimizer = torch.optim.AdamW((p for p in adapted.parameters() if p.requires_grad), lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = adapted(*batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    trained = {name for name, p in adapted.named_parameters() if p.grad is not None}
    assert len(trained) == 2 * (4 * model.config.num_layers + 1)
    assert all("lora" in name for name in trained)
    assert losses[0] != pytest.approx(before)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize:UserWarning")
def test_dynamic_quantization_changes_what_is_computed():
    model = small().eval()
    batch = batch_and_labels()[0]
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    ours, theirs = (m(batch).hidden_states for m in (model, quantized))
    assert not torch.equal(ours, theirs)
    torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.2)


def test_a_pruned_weight_is_the_one_that_is_used():
    model = small().eval()
    batch = batch_and_labels()[0]
    prune.l1_unstructured(model.layers[0].ffn_in, "weight", amount=0.5)
    with torch.no_grad():
        model.layers[0].ffn_in.weight_orig.mul_(2)  # as a step; the hook makes the weight anew
    pruned = model(batch).hidden_states
    prune.remove(model.layers[0].ffn_in, "weight")
    torch.testing.assert_close(model(batch).hidden_states, pruned)
