"""The model: padding, packing, the last layer's economy, scores and recommendations, saving and
loading.
"""

import itertools
import json
import os

import pytest
import safetensors.torch
import torch

from b4r_fast import BERT4Rec, BERT4RecConfig, InputError, PackedSequences, ops

V, LENGTH = 30, 12
MASK = V + 1


def small(**changes) -> BERT4Rec:
    config = {
        "num_items": V,
        "max_length": LENGTH,
        "hidden_size": 16,
        "initializer_range": 0.3,
        "layer_norm_eps": 1e-6,
    }
    return BERT4Rec(BERT4RecConfig(**config | changes))


def batch_and_labels(device: torch.device | str = "cpu") -> tuple[PackedSequences, torch.Tensor]:
    batch = PackedSequences.from_lists(
        [[3, 1, 4, 1, 5], [9], [], [2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3]]
    ).to(device)
    inputs, labels = ops.cloze_mask(
        batch.values,
        batch.cu_seqlens,
        mask_prob=0.4,
        mask_id=MASK,
        seed=torch.tensor(1, device=device),
    )
    return PackedSequences(inputs, batch.cu_seqlens, batch.max_seqlen), labels


def padded(
    batch: PackedSequences, labels: torch.Tensor, side: str, width: int = LENGTH
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same batch as padded tensors: padding left, right, or spread inside."""
    device = batch.values.device
    ids = torch.zeros(len(batch), width, dtype=torch.int64, device=device)
    targets = torch.full((len(batch), width), -100, device=device)
    bounds = batch.cu_seqlens.tolist()
    for b, (start, stop) in enumerate(itertools.pairwise(bounds)):
        n = stop - start
        place = {
            "left": range(width - n, width),
            "right": range(n),
            "inside": torch.randperm(width)[:n].sort().values.tolist(),
        }[side]
        ids[b, list(place)] = batch.values[start:stop]
        targets[b, list(place)] = labels[start:stop]
    return ids, targets


@pytest.mark.parametrize("side", ["left", "right", "inside"])
@pytest.mark.parametrize("positions_from", ["start", "end"])
def test_a_padded_batch_and_its_packed_form_give_the_same_loss(side, positions_from, device):
    model = small(positions_from=positions_from).to(device)
    batch, labels = batch_and_labels(device)
    seed = torch.tensor(5, device=device)
    packed_loss = model(batch, labels, seed=seed).loss
    padded_loss = model(*padded(batch, labels, side), seed=seed).loss
    assert packed_loss == padded_loss
    assert packed_loss.isfinite()


def test_a_padded_row_changes_nothing_for_the_others():
    model = small()
    ids, targets = padded(*batch_and_labels(), "left")
    assert (ids == 0).all(1).any()
    kept = (ids != 0).any(1)
    seed = torch.tensor(5)
    assert model(ids, targets, seed=seed).loss == model(ids[kept], targets[kept], seed=seed).loss


def test_a_batch_of_padding_alone_has_loss_0_and_gradients_0(device):
    model = small().to(device)
    model(
        torch.zeros(3, 5, dtype=torch.int64, device=device), torch.full((3, 5), -100, device=device)
    ).loss.backward()
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_last_layer_for_labelled_tokens_alone_gives_what_all_tokens_would(norm, device):
    model = small(norm=norm, final_norm=norm == "pre").to(device).eval()
    batch, labels = batch_and_labels(device)
    every = model(batch).hidden_states
    torch.testing.assert_close(model(batch, labels).hidden_states, every[labels != -100])
    assert every.shape == (batch.values.numel(), 16)


def test_one_seed_gives_one_step_bit_for_bit_and_another_seed_another():
    model = small()
    batch, labels = batch_and_labels()
    losses = [model(batch, labels, seed=torch.tensor(s)).loss for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


VARIANTS = {
    "as in the paper": {},
    "pre-norm with a final norm": {"norm": "pre", "final_norm": True},
    "no embedding norm": {"embedding_norm": False},
    "no projection head": {"projection_head": False},
    "an output table of its own": {"tie_embeddings": False},
    "no output bias": {"output_bias": False},
    "tanh GELU": {"activation": "gelu_tanh"},
    "positions from the end": {"positions_from": "end"},
    "sampled, log-uniform": {"loss": "sampled", "num_negatives": 20},
    "sampled by popularity, uncorrected": {
        "loss": "sampled",
        "num_negatives": 20,
        "sampler": "popularity",
        "logq_correction": False,
    },
    "one layer, one head, narrow feed-forward": {
        "num_layers": 1,
        "num_heads": 1,
        "intermediate_size": 8,
    },
}


def assert_it_learns(model: BERT4Rec, device: torch.device | str) -> None:
    batch, labels = batch_and_labels(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        loss = model(batch, labels, seed=torch.tensor(step, device=device)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_model_of_bf16_learns(loss, device):
    assert_it_learns(small(loss=loss, num_negatives=20).to(device, torch.bfloat16), device)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_saves_and_loads(name, device, tmp_path):
    model = small(**VARIANTS[name]).to(device)
    assert_it_learns(model, device)
    model.eval().save_pretrained(tmp_path)
    again = BERT4Rec.from_pretrained(tmp_path).to(device)
    assert again.config == model.config
    assert torch.equal(again.score([[1, 2, 3]]), model.score([[1, 2, 3]]))
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_scores_are_of_the_item_after_the_history(device):
    model = small().to(device).eval()
    history = list(range(1, 20))  # longer than the model: the newest 11 and [MASK]
    batch = PackedSequences.from_lists([[*history[-11:], MASK]]).to(device)
    hidden = model(batch).hidden_states[-1]
    scores = model.score([history])
    assert scores.shape == (1, V + 1)
    assert scores[0, 0] == -torch.inf
    torch.testing.assert_close(scores[0, 1:], model.item_embeddings @ hidden + model.output_bias)
    torch.testing.assert_close(model.encode([history])[0], hidden)


def test_histories_as_lists_padded_tensor_or_packed_are_the_same(device):
    model = small().to(device).eval()
    lists = [[1, 2, 3], [4], []]
    tensor = torch.tensor([[1, 2, 3], [0, 4, 0], [0, 0, 0]])
    expected = model.encode(lists)
    assert torch.equal(expected, model.encode(tensor))
    assert torch.equal(expected, model.encode(PackedSequences.from_lists(lists)))


def test_encoding_has_no_dropout_even_in_training_mode():
    model = small().train()
    assert torch.equal(model.encode([[1, 2]]), model.encode([[1, 2]]))
    assert model.training


def test_recommendations_are_the_best_scores_without_what_was_seen(device):
    model = small().to(device).eval()
    histories = [[1, 2, 3], list(range(1, 29))]
    ids, scores = model.recommend(histories, k=5)
    all_scores = model.score(histories)
    for row, history in enumerate(histories):
        all_scores[row, history] = -torch.inf
    best = all_scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(ids[0], best.indices[0, :5])
    torch.testing.assert_close(scores[0], best.values[0, :5])
    # The second user has two items left.
    assert set(ids[1, :2].tolist()) == {29, 30}
    assert ids[1, 2:].tolist() == [0, 0, 0]
    assert (scores[1, 2:] == -torch.inf).all()


def test_seen_items_can_be_recommended_on_demand_and_candidates_restrict():
    model = small().eval()
    ids, _ = model.recommend([[1, 2, 3]], k=V, exclude_seen=False)
    assert set(ids[0].tolist()) == set(range(1, V + 1))
    ids, _ = model.recommend([[1, 2, 3], [4]], k=3, candidates=torch.tensor([7, 1, 9]))
    assert set(ids[0].tolist()) == {7, 9, 0}
    assert set(ids[1].tolist()) == {7, 1, 9}
    mine = torch.tensor([[7, 9], [1, 2]])
    torch.testing.assert_close(
        model.score([[1], [4]], candidates=mine), model.score([[1], [4]]).gather(1, mine)
    )
    shared = torch.tensor([9, 7])
    torch.testing.assert_close(
        model.score([[1], [4]], candidates=shared), model.score([[1], [4]])[:, shared]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(torch.tensor([[1, MASK + 1]])), "input_ids must be item ids, 1 to 31; got 32"),
        (lambda m: m(torch.tensor([[1, -1]])), "input_ids must be item ids, 1 to 31; got -1"),
        (lambda m: m(torch.tensor([[1.0]])), "input_ids must be an integer tensor"),
        (lambda m: m.recommend(torch.tensor([[True]])), "input_ids must be an integer tensor"),
        (
            lambda m: m(torch.tensor([[1, 2]]), weights=torch.ones(1, 2)),
            "weights are of labels, and there are none",
        ),
        (
            lambda m: m(torch.tensor([[1, 2]]), torch.tensor([[3, -100]]), weights=torch.ones(2)),
            r"weights must have the shape of input_ids, \(1, 2\), got \(2,\)",
        ),
        (
            lambda m: m(torch.ones(1, LENGTH + 1).long()),
            "at most max_length=12 items a sequence, got 13",
        ),
        (
            lambda m: m(torch.tensor([[1, 2]]), torch.tensor([[0, -100]])),
            "labels must be item ids, 1 to 30, or -100; got 0",
        ),
        (
            lambda m: m(torch.tensor([[1, 2]]), torch.tensor([[MASK, -100]])),
            "labels must be item ids, 1 to 30, or -100; got 31",
        ),
        (
            lambda m: m(torch.tensor([[0, 2]]), torch.tensor([[3, -100]])),
            "labels must be -100 where input_ids is padding",
        ),
        (
            lambda m: m(torch.tensor([[1, 2]]), torch.tensor([3, -100])),
            r"labels must have the shape of input_ids, \(1, 2\), got \(2,\)",
        ),
        (lambda m: m.encode([[1, MASK]]), "histories must be item ids, 1 to 30; got 31"),
        (lambda m: m.recommend([[1]], k=0), "k must be at least 1"),
        (
            lambda m: m.recommend([[1]], candidates=torch.tensor([0])),
            "candidates must be item ids, 1 to 30; got 0",
        ),
        (
            lambda m: m.score([[1]], candidates=torch.tensor([[1], [2]])),
            r"candidates must be \(C,\) or \(batch, C\) with batch=1",
        ),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(small())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_items": 0}, "num_items must be an integer of at least 1, got 0"),
        ({"hidden_size": 15}, "hidden_size must be a multiple of num_heads, got 15 and 2"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout must lie in \[0, 1\), got 1.0"),
        ({"activation": "relu"}, "activation must be one of 'gelu', 'gelu_tanh', got 'relu'"),
        ({"num_layers": 10**8}, "num_layers must be at most 1024"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps must be positive"),
        ({"initializer_range": -1.0}, "initializer_range must be a number of at least 0"),
        ({"initializer_range": "x"}, "initializer_range must be a float, got 'x'"),
        ({"hidden_dropout": True}, "hidden_dropout must be a float, got True"),
        ({"output_bias": "no"}, "output_bias must be a bool, got 'no'"),
    ],
)
def test_a_configuration_that_makes_no_model_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_a_truncated_weights_file_is_named(tmp_path):
    small().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(
        InputError, match=r"model.safetensors: not a readable safetensors file, it may be truncated"
    ):
        BERT4Rec.from_pretrained(tmp_path)


def test_weights_of_another_shape_are_named(tmp_path):
    small().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_items": 7}))
    with pytest.raises(
        InputError,
        match=(
            r"model.safetensors: does not fit the config.json beside it: size mismatch for"
            r" output_bias"
        ),
    ):
        BERT4Rec.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ('{"model_type": "bert"}', "not the configuration of a BERT4Rec of this library"),
        ('{"model_type": "bert4rec", "num_items": 5, "colour": 1}', "unknown field 'colour'"),
        (
            '{"model_type": "bert4rec", "num_items": -5}',
            "num_items must be an integer of at least 1",
        ),
        ('{"model_type": "bert4rec"}', "missing 1 required"),
    ],
)
def test_a_foreign_config_is_named(text, message, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=f"config.json: .*{message}"):
        BERT4Rec.from_pretrained(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(
        InputError,
        match=r"config.json: no such file; a saved model has config.json and model.safetensors",
    ):
        BERT4Rec.from_pretrained(tmp_path)


def test_a_full_disk_while_saving_leaves_the_model_that_was_there(tmp_path, monkeypatch):
    first = small()
    first.save_pretrained(tmp_path)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(InputError, match="No space left on device"):
        small().save_pretrained(tmp_path)
    monkeypatch.undo()
    assert torch.equal(
        BERT4Rec.from_pretrained(tmp_path).item_embedding.weight, first.item_embedding.weight
    )
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_a_disk_that_is_full_of_weights_is_said_in_a_line(tmp_path, monkeypatch):
    """safetensors has an error of its own for it, which was a traceback."""

    def no_space(*_, **__):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", no_space)
    with pytest.raises(InputError, match=r"cannot write .*model\.safetensors: .*No space left"):
        small().save_pretrained(tmp_path)


def test_the_weight_of_a_label_is_what_it_counts_in_the_loss(device):
    """Padded and packed; a label of weight 0 is as if it were not there."""
    model = small().to(device).eval()
    batch, labels = batch_and_labels(device)
    chosen = labels != -100
    weights = torch.linspace(0, 2, labels.numel(), device=device)
    rows = [
        model(
            batch, torch.where(torch.arange(labels.numel(), device=device) == i, labels, -100)
        ).loss
        for i in chosen.nonzero().flatten().tolist()
    ]
    expected = (torch.stack(rows) * weights[chosen]).sum() / weights[chosen].sum()
    torch.testing.assert_close(model(batch, labels, weights=weights).loss, expected)
    lengths = batch.lengths.tolist()
    ids, padded_labels, padded_weights = (
        torch.nn.utils.rnn.pad_sequence(torch.split(x, lengths), True, padding)
        for x, padding in ((batch.values, 0), (labels, -100), (weights, 0.0))
    )
    torch.testing.assert_close(model(ids, padded_labels, weights=padded_weights).loss, expected)


def test_parameters_that_are_reset_are_those_of_a_new_model():
    """Norms, the output's bias and item counts were left as they were."""
    model = small(loss="sampled", sampler="popularity")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(7)
    torch.manual_seed(5)
    model.reset_parameters()
    torch.manual_seed(5)
    new = small(loss="sampled", sampler="popularity")
    torch.manual_seed(5)
    new.reset_parameters()
    for name, tensor in new.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_model_made_on_the_meta_device_starts_where_it_is_reset():
    """Seeds and norms were what memory held: ops shared a seed, and the loss was NaN."""
    with torch.device("meta"):
        model = small()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(torch.nan)
    torch.manual_seed(5)
    model.reset_parameters()
    new = small()
    new.load_state_dict(model.state_dict())
    seed = torch.tensor(3)
    assert torch.equal(*(m(*batch_and_labels(), seed=seed).loss for m in (model, new)))


def test_averaging_buffers_leaves_the_seeds_of_a_step_alone():
    model = small()
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(model)
    seed = torch.tensor(3)
    losses = [m(*batch_and_labels(), seed=seed).loss for m in (model, averaged.module)]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(
    "histories", [[1, 2, 3], [[[1, 2], [3, 4]]], [[1.7, 2.2]], [[True]], ["12"]]
)
def test_histories_that_are_no_lists_of_integers_are_refused(histories):
    """One flat history was taken for three users, nested ones were flattened, 1.7 was item 1."""
    with pytest.raises(
        ValueError, match=r"one for each user, as \[\[3, 7\], \[5\]\]; sequence 0 is"
    ):
        small().eval().recommend(histories)
