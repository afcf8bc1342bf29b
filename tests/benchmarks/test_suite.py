"""The harness, on tiny sizes: no time is asserted."""

import json

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import chart, goals, measure, ops, peers, report, suite
from benchmarks.batch import IGNORED, Batch
from benchmarks.memory import PeakMemory
from benchmarks.peers import install
from benchmarks.processes import PeerFailed, Worker
from benchmarks.workloads import WORKS, batch_of, sequences_of

from .tiny import LENGTHS, tiny_batch, tiny_work

TINY = suite.Effort(budget=0, least=2)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(suite, "batch_of", tiny_batch)


def carry_out(comparison):
    return suite.carry_out(comparison, TINY, 1, lambda line: None, work=tiny_work(comparison.work))


def test_a_training_step_is_measured_beside_a_peer_and_one_that_is_missing_is_named(
    tiny, monkeypatch, tmp_path
):
    absent = peers.Peer("Absent", "absent", environment="absent")
    monkeypatch.setitem(suite.TRAINING, "absent", absent)
    rows = carry_out(
        suite.Comparison("training", "ml-1m", {"eager": ("tuned",), "absent": ("default",)})
    )
    ours, eager, missing = rows
    assert set(ours["seconds"]) == {"forward", "backward", "optimizer", "both", "step"}
    assert set(ours["share_of_limit"]) == {"forward", "backward", "both", "step"}
    assert eager["times_ours"].keys() == ours["seconds"].keys()
    assert (eager["malloc"], eager["rounds"]) == ("tuned", 2)
    assert "not installed" in missing["error"]
    check_report(rows, tmp_path)


def test_a_recorded_step_is_measured_as_a_whole(tiny, tmp_path):
    for work in ("ml-1m", "beauty-sampled"):
        rows = carry_out(suite.Comparison("training", work, {"recorded": ("default",)}))
        assert set(rows[1]["seconds"]) == set(rows[1]["times_ours"]) == {"step"}
    check_report(rows, tmp_path)


def test_an_op_is_measured_in_our_process_beside_its_peers(tiny, tmp_path):
    rows = carry_out(
        suite.Comparison("op", "ml-1m", {"F.cross_entropy": ("default",)}, "softmax_loss, ML-1M")
    )
    assert [row["contender"] for row in rows] == ["b4r_fast", "F.cross_entropy"]
    assert set(rows[0]["seconds"]) == {"forward", "backward", "both"}
    check_report(rows, tmp_path)


def check_report(rows, folder):
    names = (
        "cpu",
        "instruction_set",
        "torch_instruction_set",
        "system",
        "python",
        "torch",
        "b4r_fast",
    )
    described = dict.fromkeys(names, "made up") | {
        "cores": 2,
        "threads": 1,
        "memory_bytes": 2**34,
        "load": 3.0,
    }
    results = {
        "date": "2026-01-01",
        "effort": "quick",
        "limits": "a loop",
        "machine": described,
        "rows": rows,
    }
    report.write(folder, results)
    assert report.read(folder) == json.loads(json.dumps(results))
    text = (folder / "results.md").read_text()
    assert "load 3.0" in text
    assert all(row["contender"] in text and row.get("error", "") in text for row in rows)
    assert chart.draw(results, folder / "results.png").stat().st_size > 10_000


def test_a_worker_gives_the_reason_of_a_failure_and_goes_on(tmp_path):
    work = tiny_work()
    tiny_batch(work).save(tmp_path / "batch.pt")
    spec = {"kind": "training", "case": "", "work": vars(work), "batch": str(tmp_path / "batch.pt")}
    with Worker(threads=1) as worker:
        with pytest.raises(PeerFailed, match="KeyError"):
            worker.ask("build", name="nobody", **spec)
        assert worker.ask("build", name="eager", **spec)["versions"].startswith("torch")
        worker.process.kill()
        with pytest.raises(PeerFailed, match="signal 9"):
            worker.ask("run", name="eager")


def test_contenders_take_turns_and_each_is_first_in_every_other_round():
    order = []

    def contender(name, seconds):
        return lambda: order.append(name) or {"forward": seconds, "backward": seconds}

    rounds = measure.interleave(contender("us", 1.0), contender("them", 3.0), budget=0, least=3)
    assert order == ["us", "them", "them", "us", "us", "them"]
    assert measure.ratios(rounds) == {"forward": 3.0, "backward": 3.0, "both": 3.0}


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    rounds = [
        ({"forward": 1.0}, {"forward": 2.0}),
        ({"forward": 10.0}, {"forward": 40.0}),
        ({"forward": 1.0}, {"forward": 3.0}),
    ]
    assert measure.ratios(rounds) == {"forward": 3.0}


def test_peak_memory_sees_what_was_allocated_and_freed_again():
    with PeakMemory() as peak:
        torch.ones(16 << 20)  # 64 MiB
    if peak.bytes is None:
        pytest.skip("this system does not tell")
    assert 60 << 20 < peak.bytes < 200 << 20


@pytest.mark.parametrize("data", ["ml-1m", "beauty"])
def test_without_the_data_a_stand_in_of_the_same_lengths_says_so(data, monkeypatch, tmp_path):
    monkeypatch.setenv("B4R_BENCH_DATA", str(tmp_path))
    sequences, source = sequences_of(data)
    assert "STAND-IN" in source
    assert sequences.lengths.min() >= {"ml-1m": 18, "beauty": 5}[data]
    work = next(work for work in WORKS.values() if work.data == data)
    batch = batch_of(work)
    assert "STAND-IN" in batch.source
    assert len(batch) == work.users
    assert batch.longest <= work.max_length
    assert abs((batch.labels != IGNORED).float().mean() - work.mask_prob) < 0.1


def test_real_batches_have_the_sizes_that_the_figures_are_about(shared_data):
    batch = batch_of(WORKS["ml-1m"])
    assert 25_000 < batch.values.numel() < 33_000
    assert 5_000 < (batch.labels != IGNORED).sum() < 7_000
    spread = batch_of(WORKS["million-sampled"])
    assert spread.histories().max() <= 1_000_000
    assert spread.histories().max() > 500_000


def test_a_batch_that_asks_has_the_newest_items_and_a_mask_at_the_end():
    work = tiny_work(max_length=6)
    asking = tiny_batch(work).asking()
    assert asking.lengths.tolist() == [min(length, 5) + 1 for length in LENGTHS]
    last = asking.cu_seqlens[1:].long() - 1
    assert (asking.values[last] == work.num_items + 1).all()
    assert asking.hidden_of_sequence().tolist() == [1] * len(LENGTHS)
    histories = tiny_batch(work).histories().split(LENGTHS)
    assert (
        asking.values.split(asking.lengths.tolist())[2][:-1].tolist() == histories[2][-5:].tolist()
    )


def test_a_batch_comes_back_from_its_file(tmp_path):
    batch = tiny_batch(tiny_work())
    batch.save(tmp_path / "batch.pt")
    again = Batch.load(tmp_path / "batch.pt")
    assert torch.equal(again.values, batch.values)
    assert (again.max_length, again.source) == (batch.max_length, batch.source)


@pytest.mark.parametrize("comparisons", [suite.quick, suite.full])
def test_all_comparisons_name_peers_and_shapes_that_exist(comparisons):
    for comparison in comparisons():
        known = suite.titles(comparison)
        assert comparison.work in WORKS
        assert set(comparison.peers) <= set(known)
        assert comparison.kind != "op" or comparison.work == ops.CASES[comparison.case].work


def test_goals_are_read_from_the_rows_and_what_is_not_measured_is_said():
    shared = {"kind": "training", "title": "ML-1M", "malloc": "default", "peak_bytes": 1}
    parts = {"step": 1.0, "both": 0.9, "forward": 0.4, "backward": 0.5}
    rows = [
        shared | {"contender": "b4r_fast", "seconds": parts, "share_of_limit": {"step": 0.7}},
        shared | {"contender": "PyTorch eager", "seconds": parts, "times_ours": {"step": 9.5}},
        shared | {"contender": "torch.compile", "seconds": parts, "times_ours": {"step": 7.5}},
    ]
    lines = goals.table(rows)
    assert "| ML-1M step: times the better of PyTorch eager and compile | 8 | 7.5 | no |" in lines
    assert "| ML-1M step: share of the FMA rate | 0.6 | 0.7 | yes |" in lines
    assert "| ML-1M step: times Hugging Face | 14 | not measured |  |" in lines


def test_every_goal_names_a_comparison_that_the_quick_version_makes(monkeypatch):
    asked = set()
    monkeypatch.setattr(
        goals,
        "_find",
        lambda rows, kind, title, contender, malloc="default": asked.add(
            (kind, title, contender, malloc)
        ),
    )
    goals.table([])
    made = {
        ("training", comparison.title)
        for comparison in suite.quick()
        if comparison.kind == "training"
    }
    made |= {("op", title) for title in ops.CASES}
    assert {(kind, title) for kind, title, *_ in asked} <= made


def test_the_command_measures_what_is_asked_for_alone():
    kept = command.chosen(suite.full(), "beauty", ["eager"])
    assert {comparison.work for comparison in kept} == {"beauty", "beauty-sampled"}
    assert all(set(comparison.peers) == {"eager"} for comparison in kept)


def test_an_unknown_peer_cannot_be_installed(capsys):
    assert install.main(["nobody"]) == 2
    assert "recbole" in capsys.readouterr().err


def test_a_peer_that_cannot_be_installed_gives_the_reason(monkeypatch, tmp_path):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "broken.txt").write_text("./no-such-folder\n")
    monkeypatch.setattr(install, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setattr(install, "ENVIRONMENTS", tmp_path / "environments")
    assert "no-such-folder" in install.install("broken")
    assert install.python_of("broken") is None
