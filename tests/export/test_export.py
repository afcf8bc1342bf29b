"""What is exported answers as the model does: in ONNX Runtime, in torch alone, and in an index of
inner products.
"""

import json

import duckdb
import numpy as np
import onnxruntime
import pytest
import torch

from b4r_fast import BERT4Rec, BERT4RecConfig, InputError
from b4r_fast.cli import main
from b4r_fast.export import to_onnx, to_torch
from b4r_fast.export.dense import Recommendation
from b4r_fast.export.folder import write_folder
from b4r_fast.serving import Recommender

from ..training.small_runs import DRAWN, prepare_small_data, train_small

V, LENGTH, K = 50, 8, 5
VARIANTS = {
    "paper": {},
    "recipe": {
        "norm": "pre",
        "final_norm": True,
        "positions_from": "end",
        "embedding_norm": False,
        "projection_head": False,
    },
    "untied": {"tie_embeddings": False, "activation": "gelu_tanh", "output_bias": False},
}


def model_of(variant: str) -> BERT4Rec:
    torch.manual_seed(0)
    config = {"num_items": V, "max_length": LENGTH, "hidden_size": 16, "initializer_range": 0.3}
    return BERT4Rec(BERT4RecConfig(**config, **VARIANTS[variant])).eval()


def histories(users: int, length: int, side: str = "left") -> torch.Tensor:
    """From none to more than the model reads."""
    ids = torch.randint(1, V + 1, (users, length))
    lengths = torch.arange(users)[:, None] * 3 % (length + 1)
    places = torch.arange(length)
    return ids * (places >= length - lengths if side == "left" else places < lengths)


def assert_same(found, model, shown, **options):
    expected = model.recommend(shown, K, **options)
    ids, scores = (torch.as_tensor(part).detach() for part in found)
    torch.testing.assert_close(scores, expected.scores, rtol=1e-5, atol=1e-5)
    assert torch.equal(ids[scores > -torch.inf], expected.ids[expected.ids > 0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_plain_model_recommends_as_the_fast_one(variant, side):
    model = model_of(variant)
    shown = histories(9, 12, side)
    assert_same(Recommendation(model, K)(shown), model, shown)
    including = Recommendation(model, K, exclude_seen=False)(shown)
    assert_same(including, model, shown, exclude_seen=False)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_program_of_torch_takes_any_batch_and_length(variant, tmp_path):
    model = model_of(variant)
    to_torch(model, tmp_path / "model.pt2", K)
    program = torch.export.load(tmp_path / "model.pt2").module()
    for users, length in ((1, 1), (9, 12), (2, 40)):
        shown = histories(users, length)
        assert_same(program(shown), model, shown)


@pytest.mark.parametrize("variant", VARIANTS)
def test_onnx_runtime_takes_any_batch_and_length(variant, tmp_path):
    model = model_of(variant)
    to_onnx(model, tmp_path / "model.onnx", K)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for users, length in ((1, 1), (9, 12), (2, 40)):
        shown = histories(users, length)
        assert_same(session.run(None, {"histories": shown.numpy()}), model, shown)


def test_more_items_than_there_are_cannot_be_exported():
    with pytest.raises(ValueError, match=r"k must lie in \[1, 50\], got 51"):
        Recommendation(model_of("paper"), V + 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    data = prepare_small_data(folder)
    train_small(folder / "run", data, DRAWN)
    return folder / "run"


def call(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code or 0


def test_the_command_writes_a_model_and_what_its_numbers_mean(run, tmp_path, capsys):
    out = tmp_path / "served"
    assert call("export", run, "--out", out, "-k", 3) == 0
    assert {file.name for file in out.iterdir()} == {"model.onnx", "items.parquet"}
    raw = dict(duckdb.sql(f"SELECT id, raw FROM '{out}/items.parquet'").fetchall())
    history = Recommender(run).history_of("u5")
    number = {item: i for i, item in raw.items()}
    session = onnxruntime.InferenceSession(out / "model.onnx")
    shown = np.array([[number[item] for item in history]])
    (ids, scores) = session.run(None, {"histories": shown})
    (expected,) = Recommender(run).recommend([history], 3)
    assert [raw[i] for i in ids[0].tolist()] == expected.items
    assert scores[0] == pytest.approx(expected.scores, abs=1e-4)
    capsys.readouterr()
    assert call("export", run, "--out", out) == 2
    assert "is there already; choose another --out" in capsys.readouterr().err
    assert call("export", run, "--out", tmp_path / "other", "-k", 31) == 2
    assert "-k must lie in [1, 30], got 31" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert call("export", run, "--out", tmp_path / "other", "--format", "pickle") == 2
    assert "--format must be one of onnx, torch, vectors, npy" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["vectors", "npy"])
def test_inner_products_of_the_vectors_rank_as_recommend_does(form, run, tmp_path):
    out = tmp_path / "index"
    assert call("export", run, "--out", out, "--format", form) == 0
    tables = {}
    for kind in ("item", "user"):
        if form == "npy":
            ids = duckdb.sql(f"SELECT raw FROM '{out}/{kind}s.parquet' ORDER BY id").fetchall()
            tables[kind] = [name for (name,) in ids], np.load(out / f"{kind}s.npy")
        else:
            rows = duckdb.sql(f"SELECT {kind}, vector FROM '{out}/{kind}s.parquet'").fetchall()
            tables[kind] = [name for name, _ in rows], np.array([vector for _, vector in rows])
    (items, of_items), (users, of_users) = tables["item"], tables["user"]
    assert of_items.shape == (30, 9)
    assert of_users.shape == (40, 9)
    recommender = Recommender(run)
    for user in ("u0", "u17", "u39"):
        products = of_items @ of_users[users.index(user)]
        best = np.argsort(-products, kind="stable")[:10]
        (expected,) = recommender.recommend([recommender.history_of(user)], 10, exclude_seen=False)
        assert [items[i] for i in best] == expected.items
        assert products[best] == pytest.approx(expected.scores, abs=1e-4)


def test_vectors_come_from_the_histories_of_other_data_too(run, tmp_path):
    header, *rows = (run.parent / "log.tsv").read_text().splitlines()
    log = tmp_path / "log.tsv"
    log.write_text("\n".join([header, *rows[::-1], "new\tnobody-knows\t1", "new\ti3\t2"]) + "\n")
    assert call("prepare", log, "--out", tmp_path / "data") == 0
    out = tmp_path / "index"
    assert (
        call("export", run, "--out", out, "--format", "vectors", "--data", tmp_path / "data") == 0
    )
    vectors = dict(duckdb.sql(f"SELECT user, vector FROM '{out}/users.parquet'").fetchall())
    recommender = Recommender(run, tmp_path / "data")
    assert len(vectors) == 41
    number = recommender.item_ids.to_internal
    for user, known in (("u5", None), ("new", ["i3"])):
        history = known or recommender.history_of(user)
        expected = recommender.model.encode([number(history).tolist()])[0]
        assert vectors[user][:-1] == pytest.approx(expected.tolist(), abs=1e-5)
    statistics = json.loads((tmp_path / "data" / "statistics.json").read_text())
    assert statistics["items"] == 31


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a training run"):
        write_folder(tmp_path, tmp_path, "onnx")
