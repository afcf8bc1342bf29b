import dataclasses
import json
import math

import pytest

from b4r_fast import InputError
from b4r_fast.training import PRESETS, RunFile, TrainSettings

from .small_runs import run_file

NUMBERS = (
    "learning_rate",
    "weight_decay",
    "clip",
    "mask_prob",
    "last_only",
)
GOOD = {"data": "x", "preset": "fast", "threads": 1, "settings": {}}
# Sun et al. 2019, section 4.3, and the authors' configuration files.
PAPER = {
    "paper-ml-1m": {
        "max_length": 200,
        "mask_prob": 0.2,
        "hidden_size": 64,
        "hidden_dropout": 0.2,
        "window_stride": 100,
    },
    "paper-ml-20m": {
        "max_length": 200,
        "mask_prob": 0.2,
        "hidden_size": 64,
        "hidden_dropout": 0.1,
        "window_stride": 100,
    },
    "paper-beauty": {
        "max_length": 50,
        "mask_prob": 0.6,
        "hidden_size": 64,
        "hidden_dropout": 0.5,
        "window_stride": 5,
    },
    "paper-steam": {
        "max_length": 50,
        "mask_prob": 0.4,
        "hidden_size": 256,
        "hidden_dropout": 0.2,
        "window_stride": 25,
    },
}
PAPER_SHARED = {
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
    "batch_size": 256,
    "clip": 5.0,
    "num_layers": 2,
    "warmup_steps": 100,
}


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_presets_hold_the_paper_s_numbers(name):
    settings = dataclasses.asdict(PRESETS[name])
    expected = PAPER[name] | PAPER_SHARED
    assert {field: settings[field] for field in expected} == expected


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_with_heads_of_32(name):
    config = PRESETS[name].model_config(num_items=10)
    assert config.hidden_size == 32 * config.num_heads


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("patience", 0),
        ("learning_rate", -1.0),
        ("mask_prob", 1.5),
        ("last_only", -0.1),
        ("seed", -1),
        ("seed", 2**64),
        ("max_length", 2**31),
        ("hidden_size", "64"),
        ("epochs", 1.5),
        ("epochs", True),
        ("sparse_gradients", 1),
        ("loss", None),
        *((field, value) for field in NUMBERS for value in (math.nan, math.inf)),
    ],
)
def test_a_setting_out_of_range_is_named(field, value):
    with pytest.raises(InputError, match=f"`{field}` must"):
        TrainSettings(**{field: value})


def test_sizes_that_make_no_model_say_why():
    with pytest.raises(InputError, match="`hidden_size` must be a multiple of num_heads"):
        TrainSettings(hidden_size=30, num_heads=4).model_config(num_items=10)


def test_run_json_reads_back_what_was_written(tmp_path):
    file = run_file(tmp_path)
    (tmp_path / "run.json").write_text(file.to_json())
    assert RunFile.read(tmp_path) == file


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps(GOOD | {"settings": {"lr": 1}}),
        json.dumps(GOOD | {"settings": [1]}),
        json.dumps(GOOD | {"settings": {"clip": [5]}}),
        json.dumps(GOOD | {"data": 5}),
        json.dumps(GOOD | {"threads": "1"}),
        json.dumps(GOOD | {"threads": 100_000}),  # OpenMP died of it
        json.dumps(GOOD | {"fingerprint": "abc"}),
        json.dumps(GOOD | {"fingerprint": {"items": 1}}),
        json.dumps(GOOD | {"fingerprint": {"items": "abc"}}),
        "[" * 100_000,
        "\x00\xff",
    ],
)
def test_a_run_json_of_something_else_is_named_in_one_line(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json") as error:
        RunFile.read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_run_of_a_version_that_knew_less_goes_on_as_it_was(tmp_path):
    """uniform was the default; and a held-out item of the history was ranked, the others not."""
    file = json.loads(run_file(tmp_path).to_json())
    del file["settings"]["exclude_seen"], file["fingerprint"]
    file["settings"]["sampler"] = "uniform"
    (tmp_path / "run.json").write_text(json.dumps(file))
    settings = RunFile.read(tmp_path).settings
    assert (settings.sampler, settings.exclude_seen) == ("uniform", None)


def test_a_folder_without_run_json_is_no_run(tmp_path):
    with pytest.raises(InputError, match="not a training run"):
        RunFile.read(tmp_path)
