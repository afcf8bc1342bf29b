"""Where the rows of the item table start."""

import dataclasses

import duckdb
import numpy as np
import pytest
import torch

from b4r_fast import BERT4Rec, InputError
from b4r_fast.data import PreparedData
from b4r_fast.training import item_vectors
from b4r_fast.training.init_items import DEVIATION
from b4r_fast.training.item_vectors import neighbour_vectors
from b4r_fast.training.train import build

from ..data.histories import sequences_of
from .small_runs import SETTINGS

SIZE = SETTINGS.hidden_size


def start(data, source: object, **changes) -> BERT4Rec:
    """The model before its first step."""
    settings = dataclasses.replace(SETTINGS, init_items=source and str(source), **changes)
    return build(PreparedData.open(data), settings)[0].model


def write_vectors(path, items, vectors) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE vectors (item VARCHAR, vector DOUBLE[])")
        rows = [(item, list(map(float, vector))) for item, vector in zip(items, vectors)]
        connection.executemany("INSERT INTO vectors VALUES (?, ?)", rows)
        connection.execute("COPY vectors TO ? (FORMAT parquet)", [str(path)])


def test_items_that_share_neighbours_start_alike():
    """Two worlds that never meet: 1 to 10, and 11 to 20."""
    draw = np.random.default_rng(0)
    logs = [(draw.integers(1, 11, 12) + 10 * (user % 2)).tolist() for user in range(200)]
    vectors = torch.nn.functional.normalize(neighbour_vectors(sequences_of(*logs), 4, seed=0))
    alike = vectors @ vectors.T
    assert alike[:10, :10].mean() > alike[:10, 10:].mean() + 0.5


def test_the_pairs_are_counted_by_distance():
    keys, counts = item_vectors._pairs(sequences_of([1, 2, 3], [4], [2, 1], num_items=4))
    pairs = {divmod(int(key), 4): count for key, count in zip(keys, counts)}
    assert pairs == {(0, 1): 2, (1, 0): 2, (1, 2): 1, (2, 1): 1, (0, 2): 0.5, (2, 0): 0.5}


@pytest.mark.parametrize("most", [10, 100])
def test_many_actions_are_cut_to_the_newest_of_some(most, monkeypatch):
    monkeypatch.setattr(item_vectors, "ACTIONS", most)
    logs = sequences_of(*([*range(1, 30)] for _ in range(20)))
    kept = item_vectors._newest(logs)
    assert 2 <= kept.lengths.sum() <= most
    assert (kept.ends - kept.starts >= 2).all()
    assert all(kept[user][-1] == 29 for user in range(len(kept)))


def test_a_catalogue_smaller_than_the_model_is_wide_serves():
    vectors = neighbour_vectors(sequences_of([1, 2, 3], [3, 2, 1], num_items=3), 64, seed=0)
    assert vectors.shape == (3, 64)
    assert vectors.isfinite().all()


@pytest.mark.parametrize("tied", [True, False])
def test_the_vectors_go_into_both_tables_and_items_without_one_stay(tmp_path, data, tied):
    write_vectors(tmp_path / "v.parquet", ["i3", "unknown"], np.eye(2, SIZE) * 7)
    plain, model = (start(data, s, tie_embeddings=tied) for s in (None, tmp_path / "v.parquet"))
    row = int(PreparedData.open(data).item_ids.to_internal(["i3"])[0]) - 1
    for ours, before in (
        (model.item_embedding.weight[1:-1], plain.item_embedding.weight[1:-1]),
        (model.item_embeddings, plain.item_embeddings),
    ):
        assert (ours != before).any(1).nonzero().flatten().tolist() == [row]
        assert float(ours[row].square().mean().sqrt()) == pytest.approx(DEVIATION)
        assert ours[row].argmax() == 0


def test_longer_vectors_come_down_to_their_principal_components(tmp_path, data):
    """What lies in as many directions as the model is wide keeps all its distances."""
    items = [f"i{i}" for i in range(30)]
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(30, SIZE)) @ draw.normal(size=(SIZE, 50))
    write_vectors(tmp_path / "v.parquet", items, vectors)
    data = PreparedData.open(data)
    model = start(data.folder, tmp_path / "v.parquet")
    rows = model.item_embeddings[data.item_ids.to_internal(items) - 1]
    centred = vectors - vectors.mean(0)
    cosines = torch.nn.functional.normalize(torch.tensor(centred), dim=1)
    ours = torch.nn.functional.normalize(rows.double(), dim=1)
    torch.testing.assert_close(ours @ ours.T, cosines @ cosines.T, rtol=0, atol=1e-4)


def test_a_run_starts_with_the_items_of_another(whole_run, data):
    theirs = BERT4Rec.from_pretrained(whole_run).item_embeddings
    assert torch.equal(start(data, whole_run).item_embeddings, theirs)
    narrow = start(data, whole_run, hidden_size=4).item_embeddings
    assert narrow.square().mean(1).sqrt().allclose(torch.tensor(DEVIATION))


@pytest.mark.parametrize(
    ("items", "vectors", "message"),
    [
        (["i1"], [[1.0, 2.0]], "have 2 numbers, and the model is 8 wide; give a `hidden_size`"),
        (["x"], [[1.0] * 8], "has a vector for none of the 30 items"),
        (["i1", "i2"], [[1.0] * 8, [1.0] * 9], "lists of one length"),
        (["i1"], [[float("nan")] * 8], "not finite"),
    ],
)
def test_vectors_that_do_not_fit_are_named(tmp_path, data, items, vectors, message):
    write_vectors(tmp_path / "v.parquet", items, vectors)
    with pytest.raises(InputError, match=message):
        start(data, tmp_path / "v.parquet")


def test_a_source_that_is_none_is_named(tmp_path, data):
    with pytest.raises(InputError, match="neighbours, a run folder or a Parquet file, got 'x'"):
        start(data, "x")
    (tmp_path / "v.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match="not a Parquet file with the columns item and vector"):
        start(data, tmp_path / "v.parquet")


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_mask_begins_with_the_mean_of_the_history(norm, data):
    """So far as the first layer goes: its attention hands on the mean of what it reads."""
    changes = {"init_values": "identity", "norm": norm, "hidden_dropout": 0.0}
    model = start(data, "neighbours", **changes)
    layer, x = model.layers[0], torch.randn(5, SIZE)
    with torch.no_grad():
        layer.qkv.weight[: 2 * SIZE] = 0  # every token reads all of them alike
        values = layer.qkv(x)[:, 2 * SIZE :]
        out = layer.attention_output(values.mean(0))
    torch.testing.assert_close(out, x.mean(0), rtol=1e-4, atol=1e-5)
    again = start(data, "neighbours", **changes)
    torch.testing.assert_close(again.layers[0].qkv.weight[2 * SIZE :], layer.qkv.weight[2 * SIZE :])
