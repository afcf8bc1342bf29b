"""A converted checkpoint is a run: it recommends, is evaluated, and trains on."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from b4r_fast import BERT4Rec, InputError
from b4r_fast.cli import main
from b4r_fast.convert import load
from b4r_fast.convert.run import write_run
from b4r_fast.data import PreparedData, leave_one_out, prepare
from b4r_fast.evaluation import Ranker, rank_held_out
from b4r_fast.serving import Recommender
from b4r_fast.training import RunFile
from b4r_fast.training.origin import items_of
from b4r_fast.training.train import build

from ..training.small_runs import SETTINGS

CHECKPOINTS = Path(__file__).parent / "checkpoints"
RECTOOLS = CHECKPOINTS / "rectools" / "rectools.ckpt"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("converted") / "run"
    write_run(run, load(RECTOOLS), "rectools")
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory, run):
    """Prepared from a log of the run's items, in another order, and of two that it has not met."""
    items = [*items_in(run), "new1", "new2"]
    generator = np.random.default_rng(1)
    rows = ["user\titem\ttime"]
    for user in range(40):
        chosen = generator.permutation(len(items))[: generator.integers(4, 12)]
        rows += [f"u{user}\t{items[item]}\t{time}" for time, item in enumerate(chosen)]
    folder = tmp_path_factory.mktemp("log")
    (folder / "log.tsv").write_text("\n".join(rows) + "\n")
    prepare(folder / "log.tsv", folder / "data")
    return folder / "data"


def items_in(run):
    return Recommender(run).item_ids.raw.tolist()


def call(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code or 0


def test_it_recommends_in_the_raw_ids_of_the_checkpoint(tmp_path, capsys):
    run = tmp_path / "run"
    assert call("convert", RECTOOLS, "--out", run) == 0
    said = capsys.readouterr().err
    assert "from rectools: 25 items, d = 8, 2 layers, 2 heads" in said
    assert "not kept: the dropout of its item table" in said
    theirs = json.loads((CHECKPOINTS / "rectools" / "expected.json").read_text())
    (tmp_path / "histories.txt").write_text("\n".join(map(" ".join, theirs["histories"])))
    assert call("recommend", run, "--history", tmp_path / "histories.txt", "--json", "-k", 3) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row, history, scores in zip(rows, theirs["histories"], theirs["scores"], strict=True):
        unseen = [i for i, item in enumerate(theirs["items"]) if item not in history]
        best = sorted(unseen, key=lambda i: -scores[i])[:3]
        assert row["items"] == [theirs["items"][i] for i in best]


def test_a_run_that_is_there_stays_unless_it_is_to_be_replaced(run, tmp_path, capsys):
    out = tmp_path / "run"
    write_run(out, load(RECTOOLS), "rectools")
    assert call("convert", RECTOOLS, "--out", out) == 2
    assert "holds a run already" in capsys.readouterr().err
    replay = CHECKPOINTS / "replay" / "replay.ckpt"
    assert call("convert", replay, "--out", out, "--overwrite") == 0
    assert "with --items, recommend and evaluate take the run too" in capsys.readouterr().err
    assert call("recommend", out, "--history", RECTOOLS) == 2
    assert "without the raw ids of its items; `b4r-fast convert`" in capsys.readouterr().err
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    assert call("convert", RECTOOLS, "--out", tmp_path / "notes", "--overwrite") == 2
    assert [file.name for file in (tmp_path / "notes").iterdir()] == ["a.txt"]


def test_it_is_evaluated_on_data_that_numbers_its_items_otherwise(run, data, capsys):
    assert call("evaluate", run, "--data", data, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    prepared = PreparedData.open(data)
    split = leave_one_out(prepared.sequences)
    numbers = items_of(run, RunFile.read(run), prepared)
    assert (numbers == 0).sum() == 2
    model = BERT4Rec.from_pretrained(run)
    recommender = Recommender(run, data)
    ranks = rank_held_out(Ranker.of_model(model, numbers), split, "test")
    of_all = prepared.sequences.num_items
    for user, rank in zip(split.users, ranks):
        *history, target = recommender.history_of(prepared.user_ids.to_raw(np.array([user]))[0])
        (found_one,) = recommender.recommend([history], k=25)
        if target in found_one.items:
            assert found_one.items.index(target) + 1 == rank
        else:
            assert target in ("new1", "new2")
            assert rank == of_all - len(history)
    assert found["results"]["BERT4Rec"]["HR@10"] == pytest.approx((ranks <= 10).mean())
    assert call("evaluate", run, "--data", data) == 0
    assert "2 of the 27 items of" in " ".join(capsys.readouterr().err.split())
    assert call("evaluate", run) == 2
    error = capsys.readouterr().err
    assert "was converted from rectools, and has no data of its own; say with --data" in error


def test_training_starts_with_all_of_its_weights(run, data):
    trained = BERT4Rec.from_pretrained(run)
    settings = dataclasses.replace(
        RunFile.read(run).settings, init_from=str(run), batch_size=8, epochs=1
    )
    prepared = PreparedData.open(data)
    model = build(prepared, settings)[0].model
    theirs, ours = items_in(run), prepared.item_ids.raw.tolist()
    known = [item for item in ours if item in theirs]
    histories = [known[:3], known[5:12]]
    before = trained.score([[theirs.index(i) + 1 for i in history] for history in histories])
    after = model.eval().score([[ours.index(i) + 1 for i in history] for history in histories])
    torch.testing.assert_close(
        after[:, [ours.index(i) + 1 for i in known]],
        before[:, [theirs.index(i) + 1 for i in known]],
    )
    new = model.item_embedding.weight[ours.index("new1") + 1]
    assert 0 < new.std() < 0.05  # as at random
    with pytest.raises(InputError, match=r"`num_heads` is 2 in .*run, and this model has 4"):
        build(prepared, dataclasses.replace(settings, num_heads=4))


def test_train_takes_the_shape_from_the_run_it_starts_from(run, data, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--init-from", run, "--epochs", 1, "--threads", 1]
    assert call("train", data, "--out", out, *options) == 0
    settings = RunFile.read(out).settings
    assert settings.init_from == str(run)
    assert (settings.max_length, settings.hidden_size, settings.layer_norm_eps) == (8, 8, 1e-5)
    assert not settings.embedding_norm
    assert call("train", data, "--out", out, "--resume", "--epochs", 2) == 0
    assert call("evaluate", out) == 0
    capsys.readouterr()
    assert call("train", data, "--out", tmp_path / "other", *options, "--init-items", "random") == 2
    assert "--init-from takes the items too; leave out --init-items" in capsys.readouterr().err
    assert call("train", data, "--out", tmp_path / "other", "--init-from", tmp_path) == 2
    assert "not a training run" in capsys.readouterr().err
    assert call("train", data, "--out", run, "--resume") == 2
    assert "was converted from rectools, not trained" in capsys.readouterr().err
    wide = [*options, "--hidden-size", 16]
    assert call("train", data, "--out", tmp_path / "other", *wide) == 2
    assert "--hidden-size is 8 in" in capsys.readouterr().err


def test_data_without_any_of_its_items_is_refused(run, tmp_path):
    (tmp_path / "log.txt").write_text("a b c d\nb c d a\n")
    prepare(tmp_path / "log.txt", tmp_path / "data")
    with pytest.raises(InputError, match="has none of the 25 items of"):
        items_of(run, RunFile.read(run), PreparedData.open(tmp_path / "data"))
    model_settings = dataclasses.replace(SETTINGS, init_from=str(run))
    with pytest.raises(InputError, match="`max_length` is 8 in"):
        build(PreparedData.open(tmp_path / "data"), model_settings)
