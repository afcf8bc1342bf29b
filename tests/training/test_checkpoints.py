"""Checkpoints and run folders that cannot be used, and disks that are full."""

import errno
import re
import shutil
import subprocess
import sys

import pytest
import torch

from b4r_fast import InputError
from b4r_fast.training.checkpoints import AtomicCheckpointIO
from b4r_fast.training.restore import read_checkpoint
from b4r_fast.training.train import train

from .small_runs import last_checkpoint, train_small


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def run(whole_run, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(whole_run, tmp_path / "run")


def test_a_truncated_checkpoint_is_named_in_one_line(run):
    path = run / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"last\.ckpt: .*truncated") as error:
        train(run, None)
    assert "\n" not in str(error.value)


def test_a_checkpoint_with_a_byte_that_is_wrong_is_refused_or_reads_as_it_was(run):
    """In a tensor nobody noticed; elsewhere it was a traceback out of pickle. The rest is between
    the files of the archive.
    """
    path = run / "checkpoints" / "last.ckpt"
    good, weights = path.read_bytes(), last_checkpoint(run)["state_dict"]
    messages = []
    places = range(0, len(good), len(good) // 40)
    for place in places:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        try:
            found = read_checkpoint(path)["state_dict"]
        except InputError as error:
            messages.append(str(error))
            continue
        assert all(torch.equal(found[name], weight) for name, weight in weights.items()), place
    assert len(messages) > len(places) // 3
    assert all("damaged" in message and "\n" not in message for message in messages)


@pytest.mark.parametrize("foreign", [{"weights": torch.zeros(2)}, [1, 2], torch.zeros(3)])
def test_a_checkpoint_of_something_else_is_refused(foreign, tmp_path):
    torch.save(foreign, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="not the checkpoint of a training run"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_checkpoint_with_code_in_it_is_refused_and_the_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"state_dict": {}, "loops": Trap()}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="something other than tensors") as error:
        read_checkpoint(tmp_path / "last.ckpt")
    assert "weights_only" not in str(error.value)  # torch's advice is to run it
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_of_another_model_names_the_tensor(run):
    path = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["model.output_bias"] = torch.zeros(7)
    torch.save(checkpoint, path)
    with pytest.raises(InputError, match=r"another model.*output_bias"):
        train(run, None)


def test_a_run_without_a_checkpoint_cannot_be_resumed(run):
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(InputError, match=r"last\.ckpt: no such checkpoint"):
        train(run, None)


def test_a_full_disk_leaves_the_previous_checkpoint_and_nothing_half_written(monkeypatch, tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "loops": {}, "epoch": 1}, path)

    def write_some_and_fail(checkpoint, file):
        with open(file, "wb") as opened:
            opened.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", write_some_and_fail)
    with pytest.raises(
        InputError,
        match=(
            r"cannot write .*last\.ckpt: No space left on device; the previous last\.ckpt is"
            r" untouched"
        ),
    ):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "loops": {}, "epoch": 2}, path)
    assert read_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_training_into_a_run_is_refused_and_changes_nothing(run, data):
    before = contents(run)
    with pytest.raises(InputError, match="`resume` continues it, `overwrite` replaces it"):
        train_small(run, data)
    assert contents(run) == before


def leave_traces(run):
    """Of a run that was resumed, and killed while it wrote."""
    traces = run / "logs/version_1/metrics.csv", run / "checkpoints/.last.ckpt.0a1b2c3d.partial"
    for path in traces:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of the old run")
    return traces


def test_overwriting_leaves_nothing_of_the_old_run(run, data):
    traces = leave_traces(run)
    train_small(run, data, overwrite=True)
    assert not any(path.exists() for path in traces)


@pytest.mark.parametrize(
    "name",
    ["notes.md", "logs/version_0/plot.png", "checkpoints/best.ckpt", "plots/", ".config.json"],
)
def test_a_file_that_is_no_run_s_is_not_overwritten(run, data, name):
    """Notes, and results that had been saved beside the model, were deleted with the run."""
    path = run / name
    path.mkdir() if name.endswith("/") else path.write_text("mine")
    before = contents(run)
    with pytest.raises(
        InputError, match=f"holds {re.escape(name.rstrip('/'))} beside a run; it is left"
    ):
        train_small(run, data, overwrite=True)
    assert contents(run) == before
    assert path.exists()


def test_a_link_to_a_folder_is_overwritten_where_it_leads(run, data):
    link = run.with_name("link")
    link.symlink_to(run)
    traces = leave_traces(run)
    train_small(link, data, overwrite=True)
    assert link.is_symlink()
    assert not any(path.exists() for path in traces)
    assert (run / "model.safetensors").exists()


HOLD = """
import sys
from pathlib import Path
from b4r_fast.training.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def resume(run, data):
    train(run, None)


def overwrite(run, data):
    train_small(run, data, overwrite=True)


@pytest.mark.parametrize(
    ("start", "begun"), [(resume, True), (overwrite, True), (train_small, False)]
)
def test_a_run_that_another_process_trains_is_left_alone_and_says_who_does(
    start, begun, run, data, tmp_path
):
    """Two trained into one folder, both ended well, and their files were mixed; and a running one
    could be deleted. begun: whether the other has already written its run.json.
    """
    run = run if begun else tmp_path / "new"
    command = [sys.executable, "-c", HOLD, run]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    before = contents(run)
    with pytest.raises(InputError, match=f"is being trained by process {other.pid} on "):
        start(run, data)
    assert contents(run) == before
    other.kill()
    other.communicate()
    start(run, data)  # a process that was killed holds nothing


def test_a_link_that_leads_nowhere_is_named(tmp_path, data):
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is a link to .*nowhere, which is not there"):
        train_small(tmp_path / "run", data)


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path, data):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(InputError, match="is not a run; it is left alone"):
        train_small(tmp_path, data, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "ten years of work"


def test_data_that_is_absent_does_not_cost_the_run_that_is_to_be_overwritten(run, tmp_path):
    before = contents(run)
    with pytest.raises(InputError, match="not a folder of prepared data"):
        train_small(run, tmp_path / "absent", overwrite=True)
    assert contents(run) == before


@pytest.mark.parametrize("text", ["step,loss\nx,1\n", "loss\n1\n", "step,loss\n1,0x1\n", b"\xff"])
def test_metrics_that_are_damaged_are_named_before_a_run_goes_on(text, run):
    """It was trained to its end, and then there was a traceback in place of its curves."""
    (file,) = run.glob("logs/*/metrics.csv")
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = contents(run)
    with pytest.raises(InputError, match=r"metrics\.csv: not readable as metrics .*; move it away"):
        train(run, None)
    assert contents(run) == before
