"""A layer as a function of anybody's weights: what it computes, and where it drops."""

import dataclasses

import pytest
import torch
from torch import nn

from b4r_fast import PackedSequences, ops
from b4r_fast.model.fused import Affine, Normalised
from b4r_fast.model.layer import LayerDropout, LayerWeights, SelectedTokens, transformer_layer
from b4r_fast.model.seeds import StepSeeds

from .test_bert4rec import batch_and_labels, small

D, HEADS = 16, 2
BATCH = PackedSequences.from_lists([[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11]])
SELECTED = SelectedTokens(torch.tensor([1, 3, 4, 10]), torch.tensor([0, 1, 2, 4]).int())
EVERY = LayerDropout(attention=0.2, hidden=0.3, activation=0.4, output=0.25)
WEIGHTS = {
    "qkv": (3 * D, D),
    "attention_output": (D, D),
    "ffn_in": (32, D),
    "ffn_out": (D, 32),
}
NORMS = ("attention_norm", "ffn_norm")


def of_tensors() -> LayerWeights:
    torch.manual_seed(0)
    parts = {
        name: Affine(torch.randn(out, width).mul(0.3), torch.randn(out))
        for name, (out, width) in WEIGHTS.items()
    }
    norms = {name: Normalised(torch.randn(D), torch.randn(D), 1e-6) for name in NORMS}
    return LayerWeights(**parts, **norms)


def of_modules(weights: LayerWeights) -> LayerWeights:
    """The same as modules of torch."""
    modules = {}
    for field in dataclasses.fields(weights):
        part = getattr(weights, field.name)
        shape = part.weight.shape
        if isinstance(part, Normalised):
            modules[field.name] = nn.LayerNorm(D, eps=part.eps)
        else:
            modules[field.name] = nn.Linear(shape[1], shape[0])
        with torch.no_grad():
            modules[field.name].weight.copy_(part.weight)
            modules[field.name].bias.copy_(part.bias)
    return LayerWeights(**modules)


def attend(q, k, v, p=0.0):
    return nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=p)


def composed(x, layer, norm, drop):
    """The formula, one sequence after the other; drop: of what leaves each place."""

    def multi_head(x):
        q, k, v = layer.qkv(x).view(-1, 3, HEADS, D // HEADS).permute(1, 2, 0, 3)
        whole = [
            attend(*(part[:, start:stop] for part in (q, k, v)))
            for start, stop in zip(BATCH.cu_seqlens[:-1], BATCH.cu_seqlens[1:])
        ]
        return layer.attention_output(torch.cat(whole, 1).transpose(0, 1).flatten(1))

    def feed(x):
        return layer.ffn_out(drop("activation", nn.functional.gelu(layer.ffn_in(x))))

    if norm == "pre":
        x = x + drop("residual", multi_head(layer.attention_norm(x)))
        x = x + drop("ffn", feed(layer.ffn_norm(x)))
    else:
        x = layer.attention_norm(x + drop("residual", multi_head(x)))
        x = layer.ffn_norm(x + drop("ffn", feed(x)))
    return drop("output", x)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("selected", [None, SELECTED])
@pytest.mark.parametrize("made_of", [lambda weights: weights, of_modules])
def test_it_is_the_formula_of_weights_and_of_modules(norm, selected, made_of):
    weights = of_tensors()
    x = torch.randn(11, D)
    found = transformer_layer(
        x, BATCH, made_of(weights), num_heads=HEADS, norm=norm, selected=selected
    )
    expected = composed(x, weights, norm, lambda place, x: x)
    expected = expected if selected is None else expected[selected.index]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("made_of", [lambda weights: weights, of_modules])
def test_each_place_drops_by_its_own_seed(norm, made_of):
    weights, x = of_tensors(), torch.randn(11, D)
    seeds = StepSeeds.of(torch.tensor(3), 1).layers[0]
    dropout = EVERY._replace(attention=0.0)
    rates = {
        "residual": dropout.hidden,
        "ffn": dropout.hidden,
        "activation": dropout.activation,
        "output": dropout.output,
    }

    def drop(place, x):
        return ops.dropout(x, dropout_p=rates[place], seed=getattr(seeds, place))

    found = transformer_layer(
        x, BATCH, made_of(weights), num_heads=HEADS, norm=norm, dropout=dropout, seeds=seeds
    )
    expected = composed(x, weights, norm, drop)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found == 0).float().mean() == pytest.approx(dropout.output, abs=0.1)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_gradients_of_weights_are_those_of_modules(norm):
    weights, x = of_tensors(), torch.randn(11, D)
    modules = of_modules(weights)
    seeds = StepSeeds.of(torch.tensor(3), 1).layers[0]
    gradients = []
    for layer in (weights, modules):
        leaves = [
            getattr(getattr(layer, field.name), kind).requires_grad_()
            for field in dataclasses.fields(layer)
            for kind in ("weight", "bias")
        ]
        out = transformer_layer(
            x, BATCH, layer, num_heads=HEADS, norm=norm, dropout=EVERY, seeds=seeds
        )
        gradients.append(torch.autograd.grad(out.square().sum(), leaves))
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_model_that_drops_everywhere_trains_and_is_whole_in_evaluation(norm):
    model = small(norm=norm, activation_dropout=0.3, output_dropout=0.3)
    batch, labels = batch_and_labels()
    seed = torch.tensor(1)
    loss = model(batch, labels, seed=seed).loss
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert loss == model(batch, labels, seed=seed).loss
    without = small(norm=norm)
    without.load_state_dict(model.state_dict())
    assert without(batch, labels, seed=seed).loss != loss
    assert torch.equal(model.score([[1, 2]]), without.score([[1, 2]]))
