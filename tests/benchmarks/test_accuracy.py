"""Accuracy against wall time, on tiny data: it runs, goes on, and asks peers what it asks us."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from b4r_fast.evaluation import Ranker
from b4r_fast.packed import PackedSequences
from benchmarks import machine
from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import contender, report
from benchmarks.accuracy.contender import Size, asked, left_padded, measure
from benchmarks.processes import PeerFailed, Worker

from ..training.small_runs import prepare_small_data

SIZE = Size(max_length=8, hidden_size=8, num_heads=2, mask_prob=0.2)


@pytest.fixture
def data(tmp_path):
    """With items enough for 100 negatives."""
    return prepare_small_data(tmp_path, items=300)


def test_our_runs_and_a_peer_that_is_not_there_make_a_table_and_a_chart(
    data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(command, "PRESET_OF", {data.name: "fast"})
    monkeypatch.setattr(command, "python_of", lambda peer: None)
    out = tmp_path / "out"
    options = ["--data", data.name, "--folder", str(data.parent), "--out", str(out), "--seeds", "2"]
    options += ["--minutes", "0.02", "--threads", "1"]
    assert command.main(options) == 0
    runs = json.loads((out / "results.json").read_text())["runs"]
    assert [run["contender"] for run in runs] == ["b4r_fast", "b4r_fast", "rectools", "replay"]
    ours, theirs = runs[0], runs[2]
    assert set(ours["test"]) == {"full", "pop100", "uni100"}
    assert ours["curve"][-1]["minutes"] > 0
    assert "not installed" in theirs["error"]
    table = (out / "results.md").read_text()
    assert f"{np.mean([run['test']['full']['NDCG@10'] for run in runs[:2]]):.4f} \u00b1" in table
    assert (out / "results.png").stat().st_size > 10_000
    kept = (out / data.name / "b4r_fast-0.json").read_text()
    (out / data.name / "b4r_fast-1.json").unlink()
    assert command.main(options) == 0  # goes on: its run has ended, and is not trained again
    assert (out / data.name / "b4r_fast-0.json").read_text() == kept


def test_data_that_is_not_prepared_is_an_error_that_says_what_prepares_it(tmp_path, capsys):
    assert command.main(["--folder", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "b4r-fast prepare ml-1m" in capsys.readouterr().err


def test_a_peer_is_ranked_as_we_are_and_its_validation_takes_none_of_its_minutes(data, monkeypatch):
    class Popular:
        """Knows what is popular, and that training ends when it is told so."""

        def __init__(self, split, size):
            self.ranker_of_training = Ranker.by_popularity(split.train.counts())
            self.network = torch.nn.Identity()

        def train(self, after_step):
            while not after_step():
                assert self.network.training

        def ranker(self):
            assert not self.network.training
            return self.ranker_of_training

    monkeypatch.setitem(
        sys.modules, f"{contender.__package__}.popular", SimpleNamespace(Contender=Popular)
    )
    told = []
    test = measure("popular", data, SIZE, minutes=0.01, every=0.002, seed=0, tell=told.append)
    assert set(test) == {"full", "pop100", "uni100"}
    assert 0.01 <= told[-1]["minutes"] < 0.02
    assert len({point["NDCG@10"] for point in told}) == 1 < len(told)


def test_peers_are_asked_with_the_newest_items_and_a_place_for_the_mask():
    histories = PackedSequences.from_lists([[1, 2, 3, 4], [5]])
    rows = asked(histories, 3)
    assert [row.tolist() for row in rows] == [[3, 4], [5]]
    assert left_padded(rows, 3).tolist() == [[0, 3, 4], [0, 0, 5]]


@pytest.mark.parametrize("name", contender.PACKAGES)
def test_a_peer_trains_and_ranks(name, data, tmp_path):
    try:
        Worker(threads=1, environment=name).close()
    except PeerFailed as reason:
        pytest.skip(str(reason))
    options = SimpleNamespace(minutes=0.05, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "PRESET_OF", {data.name: "best-ml-1m"})
        patch.setattr(command, "MASK_PROB", {data.name: 0.2})
        found = command.peers(tmp_path / "result.json", data, data.name, options, name)
    assert set(found["test"]) == {"full", "pop100", "uni100"}
    assert found["curve"][-1]["minutes"] >= 0.05


def test_a_curve_is_drawn_for_every_data_set(tmp_path):
    curve = [{"minutes": m, "NDCG@10": 0.01 * m, "HR@10": 0.02 * m} for m in range(1, 5)]
    runs = [
        {"data": d, "contender": c, "seed": 0, "curve": curve, "test": {}, "version": ""}
        for d in ("ml-1m", "beauty")
        for c in ("b4r_fast", "rectools", "replay")
    ]
    results = {"date": "2026-01-01", "machine": machine.description("cpu"), "runs": runs}
    report.draw(results, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
