"""What a finished run folder holds."""

import dataclasses
import math
from io import StringIO

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from b4r_fast import BERT4Rec, InputError
from b4r_fast.data import PreparedData, RawIds, leave_one_out, prepare
from b4r_fast.evaluation import Ranker, metrics_from_ranks, rank_held_out
from b4r_fast.training.checkpoints import Diverged, StopWhereDiverged
from b4r_fast.training.curves import read_metrics
from b4r_fast.training.module import MONITOR, ClozeModule
from b4r_fast.training.train import train

from .small_runs import DRAWN, SETTINGS, STEPS, last_checkpoint, run_file, train_small


def test_the_saved_model_is_the_one_of_the_best_epoch(whole_run, data):
    split = leave_one_out(PreparedData.open(data).sequences)
    ranks = rank_held_out(Ranker.of_model(BERT4Rec.from_pretrained(whole_run)), split, "validation")
    best = last_checkpoint(whole_run)["callbacks"]["KeepBest"]
    assert metrics_from_ranks(ranks)["NDCG@10"] == pytest.approx(best["best"], rel=1e-6)
    validation = read_metrics(whole_run)[MONITOR]
    assert validation[:, 1].max() == pytest.approx(best["best"], rel=1e-6)
    assert validation[:, 1].argmax() == best["best_epoch"]


def test_the_best_epoch_is_chosen_by_what_will_be_recommended(tmp_path):
    """By default a repeat is missed, as no recommendation holds it; here every held-out item is."""
    (tmp_path / "log.txt").write_text("".join(f"a b c{user} a b\n" for user in range(20)))
    prepare(tmp_path / "log.txt", tmp_path / "data")
    settings = dataclasses.replace(SETTINGS, epochs=1)
    assert train_small(tmp_path / "run", tmp_path / "data", settings) == 0
    settings = dataclasses.replace(settings, exclude_seen=False)
    assert train_small(tmp_path / "including", tmp_path / "data", settings) > 0


def test_the_last_checkpoint_differs_from_the_best_model(whole_run):
    last = last_checkpoint(whole_run)["state_dict"]["model.output_bias"]
    assert not torch.equal(last, load_file(whole_run / "model.safetensors")["output_bias"])


def test_a_run_folder_has_its_own_map_of_item_ids(whole_run, data):
    ours = RawIds(whole_run / "items.parquet", "item", first=1)
    assert ours.raw.tolist() == PreparedData.open(data).item_ids.raw.tolist()


def test_logs_for_csv_and_tensorboard_and_a_picture_are_written(whole_run):
    metrics = read_metrics(whole_run)
    epochs = last_checkpoint(whole_run)["global_step"] // STEPS
    assert len(metrics[MONITOR]) == len(metrics["val_loss"]) == epochs
    assert len(metrics["val_sampled_loss"]) == 0
    assert len(metrics["loss"]) >= epochs
    assert list((whole_run / "tensorboard").glob("events.out.tfevents.*"))
    assert (whole_run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_each_epoch_is_reported_with_loss_validation_and_speed(tmp_path, data, capsys):
    console = Console(stderr=True, width=200)
    train(
        tmp_path / "run", run_file(data, dataclasses.replace(SETTINGS, epochs=2)), console=console
    )
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 2, error  # and nothing of Lightning's
    for line in lines:
        assert all(word in line for word in ("epoch", "loss", "NDCG@10", "tokens/s"))


def test_without_a_terminal_a_long_epoch_is_reported_within(tmp_path, data, capsys, monkeypatch):
    """Nothing was printed until an epoch's end, which may be hours away."""
    monkeypatch.setattr("b4r_fast.training.progress.LINE_EVERY", 0)
    settings = dataclasses.replace(SETTINGS, epochs=1)
    train(tmp_path / "run", run_file(data, settings), console=Console(stderr=True, width=200))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines[:STEPS]] == [
        f"step {step} of {STEPS}" for step in range(1, STEPS + 1)
    ]


def test_a_sampled_loss_that_is_low_for_nothing_is_seen_beside_the_full_one(tmp_path, data):
    """Only the loss over the negatives was shown, and fell while the model became worse."""
    settings = dataclasses.replace(SETTINGS, loss="sampled", num_negatives=1, epochs=2)
    console = Console(record=True, width=200, file=StringIO())
    train(tmp_path / "run", run_file(data, settings), console=console)
    metrics = read_metrics(tmp_path / "run")
    full, sampled = metrics["val_loss"][:, 1], metrics["val_sampled_loss"][:, 1]
    assert (sampled < full).all()
    lines = console.export_text().splitlines()
    assert [
        f"{full:.4f} (sampled {sampled:.4f})" in line
        for line, full, sampled in zip(lines, full, sampled)
    ] == [True] * 2


def test_a_sampler_that_does_not_fit_the_data_is_a_warning_at_the_start(tmp_path):
    log = tmp_path / "log.txt"  # item "a" three times in four, beside 2,000 others
    log.write_text("".join(f"a a b{user} a a c{user} a a\n" for user in range(1000)))
    prepare(log, tmp_path / "data")
    for sampler, warnings in (("uniform", 1), ("log_uniform", 0)):
        settings = dataclasses.replace(
            SETTINGS, loss="sampled", sampler=sampler, epochs=2, batch_size=256
        )
        console = Console(record=True, width=300, file=StringIO())
        train(tmp_path / sampler, run_file(tmp_path / "data", settings), console=console)
        lines = console.export_text().splitlines()
        assert [line.startswith("warning: the sampler uniform") for line in lines].count(
            True
        ) == warnings


def test_a_sampled_loss_by_popularity_trains(tmp_path, data):
    settings = dataclasses.replace(
        SETTINGS, loss="sampled", sampler="popularity", num_negatives=10, epochs=1
    )
    train_small(tmp_path / "run", data, settings)
    counts = load_file(tmp_path / "run" / "model.safetensors")["item_counts"]
    expected = leave_one_out(PreparedData.open(data).sequences).train.counts()[1:]
    assert counts.tolist() == expected.tolist()


def test_a_run_whose_loss_is_nan_stops_at_that_step_and_keeps_no_model(tmp_path, data):
    """All epochs ran, and the model of NaN was the best so far."""
    settings = dataclasses.replace(SETTINGS, learning_rate=1e38, warmup_steps=0)
    with pytest.raises(Diverged, match=r"the loss is .* at step 2; there was no checkpoint yet"):
        train_small(tmp_path / "run", data, settings)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_step_that_leaves_weights_of_nan_is_not_saved(tmp_path, data, monkeypatch):
    """Its own loss was that of the weights before it, and good."""
    finish_step = StopWhereDiverged.on_train_batch_end

    def finish_step_and_spoil(self, trainer, module, *arguments):
        finish_step(self, trainer, module, *arguments)
        if trainer.global_step == STEPS + 2:
            module.model.output_bias.data[3] = math.nan

    monkeypatch.setattr(StopWhereDiverged, "on_train_batch_end", finish_step_and_spoil)
    with pytest.raises(Diverged, match=r"output_bias .* at step 7; .*last\.ckpt is the last"):
        train_small(tmp_path / "run", data, checkpoint_every=1)
    assert last_checkpoint(tmp_path / "run")["global_step"] == STEPS + 1
    for tensor in load_file(tmp_path / "run" / "model.safetensors").values():
        assert torch.isfinite(tensor).all()


def cloze_module(data, settings, total_steps=100):
    split = leave_one_out(PreparedData.open(data).sequences)
    return ClozeModule(
        BERT4Rec(settings.model_config(split.sequences.num_items)), split, settings, total_steps
    )


def test_weight_decay_spares_norms_and_biases(data):
    module = cloze_module(data, SETTINGS)
    optimizer = module.configure_optimizers()["optimizer"]
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in module.model.named_parameters():
        assert decay[id(parameter)] == (
            0.0 if "norm" in name or name.endswith("bias") else SETTINGS.weight_decay
        ), name


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_zero(data):
    module = cloze_module(data, dataclasses.replace(SETTINGS, warmup_steps=10), total_steps=100)
    rates = [module._rate(step) for step in range(101)]
    assert rates[0] > 0
    assert max(rates) == rates[10] == 1.0
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)
    assert rates[100] == 0.0
    assert math.isclose(rates[55], 0.5)


def test_the_rate_falls_along_the_schedule(data):
    half = {}
    for schedule in ("linear", "cosine", "constant"):
        settings = dataclasses.replace(SETTINGS, warmup_steps=0, schedule=schedule)
        module = cloze_module(data, settings, total_steps=100)
        rates = [module._rate(step) for step in range(101)]
        assert rates[0] == pytest.approx(1.0)
        assert rates[100] == 0.0
        assert rates == sorted(rates, reverse=True)
        half[schedule] = rates[50], rates[75]
    assert half["linear"] == pytest.approx((0.5, 0.25))
    assert half["cosine"] == pytest.approx((0.5, 0.5 - math.sqrt(0.125)))
    assert half["constant"] == pytest.approx((1.0, 0.75))


def test_with_a_limit_of_time_the_schedule_goes_by_the_clock(data, monkeypatch):
    settings = dataclasses.replace(SETTINGS, warmup_steps=0, max_minutes=10.0)
    module = cloze_module(data, settings, total_steps=10**6)
    now = module._begun
    for minutes, rate in ((0, 1.0), (2.5, 0.75), (10, 0.0), (12, 0.0)):
        monkeypatch.setattr("time.monotonic", lambda minutes=minutes: now + 60 * minutes)
        assert module._rate(5) == pytest.approx(rate, abs=1e-4)
    module.earlier_minutes = 4.0  # of a run that goes on
    monkeypatch.setattr("time.monotonic", lambda: now + 60)
    assert module._rate(5) == pytest.approx(0.5, abs=1e-4)


def test_a_run_ends_when_its_time_is_up_is_finished_then_and_goes_on_for_more(tmp_path, data):
    run, settings = tmp_path / "run", dataclasses.replace(DRAWN, epochs=10**6, max_minutes=0.02)
    best = train_small(run, data, settings)
    steps = last_checkpoint(run)["global_step"]
    assert best == train(run, None, console=Console(quiet=True))
    assert last_checkpoint(run)["global_step"] == steps
    with pytest.raises(InputError, match=r"`max_minutes` must be more than the 0\.0\d+ that"):
        train(run, None, max_minutes=0.001, console=Console(quiet=True))
    with pytest.raises(InputError, match=r"has trained its 0\.02 minutes; give more `max_minutes`"):
        train(run, None, epochs=10**6 + 1, console=Console(quiet=True))
    train(run, None, max_minutes=0.06, console=Console(quiet=True))
    assert last_checkpoint(run)["global_step"] > steps


def test_what_is_validated_and_kept_is_the_running_mean_of_the_weights(tmp_path, data):
    train_small(tmp_path / "run", data, dataclasses.replace(DRAWN, eval_every=1, epochs=1))
    state = last_checkpoint(tmp_path / "run")["state_dict"]
    kept = load_file(tmp_path / "run" / "model.safetensors")
    for name, tensor in kept.items():
        assert torch.equal(tensor, state[f"average.module.{name}"])
    assert not torch.equal(kept["item_embedding.weight"], state["model.item_embedding.weight"])


def test_validations_are_as_far_apart_as_asked_and_the_last_epoch_has_one(tmp_path, data):
    train_small(tmp_path / "run", data, DRAWN)
    metrics = read_metrics(tmp_path / "run")
    steps = len(metrics["loss"]) and last_checkpoint(tmp_path / "run")["global_step"] // 4
    assert metrics[MONITOR][:, 0].tolist() == [3 * steps - 1, 4 * steps - 1]


def test_training_lowers_the_loss(tmp_path, data):
    train_small(
        tmp_path / "run",
        data,
        dataclasses.replace(SETTINGS, learning_rate=2e-2, epochs=15, patience=None),
    )
    loss = read_metrics(tmp_path / "run")["loss"]
    assert loss[-5:, 1].mean() < loss[:5, 1].mean() - 0.1
