"""A run that was stopped anywhere and resumed ends with the bits of one that was not."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from rich.console import Console

from b4r_fast import BERT4Rec, InputError
from b4r_fast.signals import STOPPING
from b4r_fast.training import RunFile
from b4r_fast.training.checkpoints import Interrupted, KeepLast
from b4r_fast.training.train import train

from ..heed_signals import heed_signals
from .small_runs import DRAWN, EPOCHS, SETTINGS, STEPS, last_checkpoint, train_small

pytestmark = pytest.mark.long


class Killed(BaseException):
    """Stands for a kill between two steps."""


def kill_at(step, monkeypatch, run, data, settings=SETTINGS, **options):
    """Start a run and kill it right after a step."""
    finish_step = KeepLast.on_train_batch_end

    def finish_step_and_die(self, trainer, *arguments):
        finish_step(self, trainer, *arguments)
        if trainer.global_step == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(KeepLast, "on_train_batch_end", finish_step_and_die)
        with pytest.raises(Killed):
            train_small(run, data, settings, **options)


def assert_same_bits(run, other):
    ours, theirs = last_checkpoint(run), last_checkpoint(other)
    assert ours["global_step"] == theirs["global_step"]
    assert ours["callbacks"] == theirs["callbacks"]
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), name
    assert (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_early_stopping_ends_the_run_that_the_others_are_compared_with(whole_run):
    """Otherwise the comparisons would not notice a validation that is left out or done twice."""
    assert last_checkpoint(whole_run)["global_step"] < EPOCHS * STEPS


@pytest.mark.parametrize(
    ("step", "every"),
    [
        (4, 3),  # within the first epoch
        (STEPS, 1),  # after the last step of an epoch, before its validation
        (STEPS + 1, 100),  # the checkpoint is that of the first epoch's end
        (-STEPS + 1, 100),  # it is that of the last epoch but one, and early stopping waits
        (-STEPS - 2, STEPS),  # a checkpoint is due on the last step of each epoch
        (-1, 2),  # within the last epoch
    ],
)
def test_a_killed_run_resumes_bit_for_bit(step, every, monkeypatch, tmp_path, data, whole_run):
    """step: below 0 it counts from the end of the run."""
    run = tmp_path / "run"
    if step < 0:
        step += last_checkpoint(whole_run)["global_step"]
    kill_at(step, monkeypatch, run, data, checkpoint_every=every)
    train(run, None, console=Console(quiet=True), checkpoint_every=every)
    assert_same_bits(run, whole_run)


@pytest.mark.parametrize("step", [4, STEPS + 1, 2 * STEPS + 2])
def test_a_run_with_batches_cut_by_tokens_resumes_bit_for_bit(step, monkeypatch, tmp_path, data):
    """There the number of batches differs from epoch to epoch."""
    settings = dataclasses.replace(
        SETTINGS, batch_size=None, max_tokens=80, epochs=3, patience=None
    )
    train_small(tmp_path / "whole", data, settings)
    kill_at(step, monkeypatch, tmp_path / "run", data, settings, checkpoint_every=3)
    train(tmp_path / "run", None, console=Console(quiet=True))
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("step", [4, STEPS + 1, 2 * STEPS + 2])
def test_a_run_with_drawn_windows_and_a_running_mean_resumes_bit_for_bit(
    step, monkeypatch, tmp_path, data
):
    train_small(tmp_path / "whole", data, DRAWN)
    kill_at(step, monkeypatch, tmp_path / "run", data, DRAWN, checkpoint_every=3)
    train(tmp_path / "run", None, console=Console(quiet=True))
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


def test_a_run_killed_twice_resumes_bit_for_bit(monkeypatch, tmp_path, data, whole_run):
    run = tmp_path / "run"
    kill_at(4, monkeypatch, run, data, checkpoint_every=1)
    finish_epoch = KeepLast.on_train_epoch_end

    def finish_epoch_and_die(self, trainer, module):
        finish_epoch(self, trainer, module)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(KeepLast, "on_train_epoch_end", finish_epoch_and_die)
        with pytest.raises(Killed):
            train(run, None, console=Console(quiet=True))
    train(run, None, console=Console(quiet=True))
    assert_same_bits(run, whole_run)


def test_resuming_a_finished_run_changes_nothing(tmp_path, data, whole_run):
    run = tmp_path / "run"
    best = train_small(run, data)
    assert train(run, None, console=Console(quiet=True)) == best
    assert_same_bits(run, whole_run)


def command(*arguments):
    return [sys.executable, "-m", "b4r_fast", *map(str, arguments)]


def start_training(data, run, epochs):
    """The command in a process of its own, as soon as it has written its first checkpoint."""
    options = dict(
        zip(
            ("--max-length", "--hidden-size", "--num-layers", "--batch-size"),
            ("20", "16", "1", "8"),
        )
    )
    extra = [word for option in options.items() for word in option]
    process = subprocess.Popen(
        command(
            "train",
            data,
            "--out",
            run,
            "--epochs",
            epochs,
            "--patience",
            0,
            "--threads",
            1,
            "--checkpoint-every",
            2,
            *extra,
        ),
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    while process.poll() is None and not (run / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.002)
    return process


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    process = start_training(data, run, epochs=12)
    assert process.wait(timeout=120) == 0, process.stderr.read()
    return run


def test_a_process_killed_at_a_random_moment_resumes_bit_for_bit(data, tmp_path, uninterrupted):
    run = tmp_path / "run"
    process = start_training(data, run, epochs=12)
    time.sleep(random.uniform(0, 0.3))
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert last_checkpoint(run)["global_step"] < 12 * STEPS
    subprocess.run(
        command("train", data, "--out", run, "--resume"),
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert_same_bits(run, uninterrupted)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_writes_a_checkpoint_says_how_to_go_on_and_loses_nothing(
    number, data, tmp_path, uninterrupted
):
    """After SIGTERM the exit code was 0, and the steps since the last checkpoint were gone."""
    run = tmp_path / "run"
    process = start_training(data, run, epochs=12)
    process.send_signal(number)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    assert f"b4r-fast train {data} --out {run} --resume" in output
    subprocess.run(
        command("train", data, "--out", run, "--resume"),
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert_same_bits(run, uninterrupted)


def test_a_second_ctrl_c_ends_at_once_with_a_line(data, tmp_path):
    """The exit code was 1, and nothing was said."""
    process = start_training(data, tmp_path / "run", epochs=500)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert "Traceback" not in output
    assert (process.returncode, "stopped at once" in output) in (
        (128 + signal.SIGINT, True),
        (128 + signal.SIGTERM, False),  # the step, and the run with it, ended in between
    )


def test_a_run_stopped_in_its_first_epoch_has_a_model_and_says_whose(
    monkeypatch, tmp_path, data, whole_run
):
    """There was none, so an hour of a long first epoch could not even be looked at."""
    run = tmp_path / "run"
    finish_step = KeepLast.on_train_batch_end

    def be_asked_and_finish_step(self, *arguments):
        signal.raise_signal(signal.SIGTERM)
        finish_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(KeepLast, "on_train_batch_end", be_asked_and_finish_step)
        with pytest.raises(Interrupted) as stopped:
            train_small(run, data)
    assert (stopped.value.number, stopped.value.validated) == (signal.SIGTERM, False)
    assert last_checkpoint(run)["global_step"] == 1
    saved = BERT4Rec.from_pretrained(run).output_bias
    assert torch.equal(saved, last_checkpoint(run)["state_dict"]["model.output_bias"])
    train(run, None, console=Console(quiet=True))
    assert_same_bits(run, whole_run)


def test_a_signal_that_is_ignored_stays_so(tmp_path, data, monkeypatch):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(
            "b4r_fast.training.train.RunProgress.on_train_epoch_start",
            lambda *_: signal.raise_signal(signal.SIGHUP),
        )
        train_small(tmp_path / "run", data, dataclasses.replace(SETTINGS, epochs=1))
    finally:
        signal.signal(signal.SIGHUP, before)


def test_training_runs_in_a_thread_that_may_not_take_signals(tmp_path, data):
    with ThreadPoolExecutor(1) as thread:
        settings = dataclasses.replace(SETTINGS, epochs=1)
        assert thread.submit(train_small, tmp_path / "run", data, settings).result() > 0


def test_a_run_killed_before_its_first_checkpoint_is_resumed_from_its_first_step(
    monkeypatch, tmp_path, data, whole_run
):
    """`resume` said to start without it, and without it that the run was to be resumed."""
    run = tmp_path / "run"
    kill_at(3, monkeypatch, run, data, checkpoint_every=100)
    assert not (run / "checkpoints").exists()
    (run / "items.parquet").unlink()  # it may be that early
    train(run, None, console=Console(quiet=True))
    assert_same_bits(run, whole_run)


def test_a_finished_run_goes_on_for_more_epochs_at_the_rate_of_the_longer_schedule(tmp_path, data):
    run, settings = tmp_path / "run", dataclasses.replace(SETTINGS, epochs=2, patience=None)
    train_small(run, data, settings)
    train(run, None, epochs=4, console=Console(quiet=True))
    assert RunFile.read(run).settings.epochs == 4
    assert last_checkpoint(run)["global_step"] == 4 * STEPS
    assert last_checkpoint(run)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.0


def test_prolonged_between_two_epochs_a_run_takes_each_step_at_the_longer_schedule_s_rate(
    tmp_path, data, monkeypatch
):
    rates = []
    monkeypatch.setattr(
        KeepLast,
        "on_train_batch_start",
        lambda _, trainer, *__: rates.append(trainer.optimizers[0].param_groups[0]["lr"]),
    )
    settings = dataclasses.replace(SETTINGS, epochs=2, patience=None)
    train_small(tmp_path / "short", data, settings)
    train(tmp_path / "short", None, epochs=4, console=Console(quiet=True))
    prolonged, rates[:] = list(rates), []
    train_small(tmp_path / "long", data, dataclasses.replace(settings, epochs=4))
    assert prolonged[2 * STEPS :] == rates[2 * STEPS :]
    assert min(rates) > 0


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_is_not_prolonged_to_what_it_has(tmp_path, data, epochs):
    train_small(tmp_path / "run", data, dataclasses.replace(SETTINGS, epochs=2, patience=None))
    with pytest.raises(InputError, match=r"`epochs` must be more than the 2 that .*run has"):
        train(tmp_path / "run", None, epochs=epochs)


def test_a_run_that_stopped_early_says_that_more_epochs_do_nothing(whole_run):
    with pytest.raises(InputError, match="stopped early"):
        train(whole_run, None, epochs=100)
    assert RunFile.read(whole_run).settings.epochs == EPOCHS


def test_a_run_with_sparse_gradients_resumes_as_well(data, tmp_path, monkeypatch):
    """Moments of rows that no step named yet belong to the checkpoint too."""
    settings = dataclasses.replace(
        SETTINGS, loss="sampled", num_negatives=5, sparse_gradients=True, epochs=2
    )
    train_small(tmp_path / "whole", data, settings)
    kill_at(STEPS + 2, monkeypatch, tmp_path / "killed", data, settings, checkpoint_every=1)
    train(tmp_path / "killed", None, console=Console(quiet=True))
    assert_same_bits(tmp_path / "killed", tmp_path / "whole")
