"""Accuracy against wall time, on tiny data: it runs, goes on, and asks peers what it asks us."""

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from b4r_fast.data import PreparedData, leave_one_out
from b4r_fast.errors import InputError
from b4r_fast.evaluation import Ranker, metrics_from_ranks, rank_held_out
from b4r_fast.packed import PackedSequences
from benchmarks import machine
from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import contender, report
from benchmarks.accuracy.contender import Size, left_padded, measure, newest_items
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
    first, second = (out / data.name / f"b4r_fast-{seed}.json" for seed in range(2))
    weights = out / data.name / "b4r_fast-1" / "model.safetensors"
    kept, trained = first.read_text(), weights.stat().st_mtime_ns
    second.unlink()
    assert command.main(options) == 0  # the run has ended: it is tested, and not trained again
    assert first.read_text() == kept
    assert weights.stat().st_mtime_ns == trained
    assert json.loads(second.read_text()) == {
        name: value for name, value in runs[1].items() if name not in ("data", "contender", "seed")
    }
    options[options.index("--minutes") + 1] = "0.03"
    with pytest.raises(InputError, match=r"began with minutes 0.02, and this is 0.03"):
        command.main(options)


def test_data_that_is_not_prepared_is_an_error_that_says_what_prepares_it(tmp_path):
    with pytest.raises(InputError, match="b4r-fast prepare ml-1m"):
        command.main(["--folder", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match="--minutes must be more than 0"):
        command.main(["--minutes", "0"])


class Popular:
    """Ranks by how many users have an item for validation, slowly, and the other way round once it
    has trained for too long.
    """

    def __init__(self, split, size):
        items = split.train.num_items + 1
        self.counts = np.bincount(split.targets("validation", split.users), minlength=items)
        self.network = torch.nn.Module()
        self.network.register_buffer("spoiled", torch.tensor(0))

    def train(self, clock):
        clock.start()
        while not clock.is_over():
            assert self.network.training
            if clock.validated:
                self.network.spoiled.fill_(1)

    def ranker(self):
        assert not self.network.training
        time.sleep(0.1)
        return Ranker.by_popularity(self.counts * (1 - 2 * int(self.network.spoiled)))


def test_a_peer_is_ranked_as_we_are_by_its_best_weights_in_minutes_without_validation(
    data, monkeypatch
):
    module = SimpleNamespace(Contender=Popular)
    monkeypatch.setitem(sys.modules, f"{contender.__package__}.popular", module)
    told = []
    minutes = 0.004
    test = measure("popular", data, SIZE, minutes=minutes, every=0.001, seed=0, tell=told.append)
    assert set(test) == {"full", "pop100", "uni100"}
    split = leave_one_out(PreparedData.open(data).sequences)
    popular = rank_held_out(Ranker.by_popularity(Popular(split, SIZE).counts), split, "test")
    assert test["full"] == metrics_from_ranks(popular)
    assert told[0]["NDCG@10"] > told[-1]["NDCG@10"]
    assert len(told) >= 4  # each took longer than it is from one to the next
    assert told[-1]["minutes"] >= minutes


def test_peers_are_asked_with_the_newest_items_and_a_place_for_the_mask():
    histories = PackedSequences.from_lists([[1, 2, 3, 4], [5]])
    rows = newest_items(histories, 3)
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
        found = command.run_peer(tmp_path / "result.json", data, data.name, options, name)
    assert "error" not in found, found
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
