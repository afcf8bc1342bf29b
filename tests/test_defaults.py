"""A default that stands in two places is the same in both, or differs on purpose."""

from dataclasses import fields
from inspect import signature

import numpy as np
import pytest

from b4r_fast import BERT4Rec, BERT4RecConfig, ops
from b4r_fast.cli import evaluate, recommend, train
from b4r_fast.cli import prepare as cli_prepare
from b4r_fast.data import Preprocessing, Sequences, prepare, prepare_dataset
from b4r_fast.evaluation import rank_held_out
from b4r_fast.model.config import CHOICES
from b4r_fast.ops.sample_negatives import SAMPLERS
from b4r_fast.serving import Recommender
from b4r_fast.training import PRESETS, TrainSettings, auto_settings
from b4r_fast.training.auto import BY_THE_DATA
from b4r_fast.training.settings import BEST
from b4r_fast.training.train import train as run_training

# Today's practice, where the model has the paper's numbers.
OF_PRACTICE = {"max_length", "hidden_dropout", "attention_dropout"}


def defaults_of(function):
    parameters = signature(function).parameters.values()
    return {p.name: p.default for p in parameters if not callable(p.default)}  # nor empty


def differing(first, second):
    ours, theirs = defaults_of(first), defaults_of(second)
    return {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}


def test_what_is_no_matter_of_practice_is_trained_as_the_model_has_it():
    """train drew negatives by another sampler than a model does that is made in Python."""
    assert differing(TrainSettings, BERT4RecConfig) == OF_PRACTICE


def test_training_sets_every_size_and_variant_of_the_model():
    missing = {f.name for f in fields(BERT4RecConfig)} - {f.name for f in fields(TrainSettings)}
    assert missing == {"num_items", "initializer_range"}


def test_the_model_knows_every_sampler_of_the_op():
    assert CHOICES["sampler"] == SAMPLERS


def test_the_model_has_the_numbers_of_the_paper_s_preset():
    assert PRESETS["paper-ml-1m"].model_config(num_items=9) == BERT4RecConfig(num_items=9)


def test_the_preset_fast_is_the_settings_own_defaults():
    assert PRESETS["fast"] == TrainSettings()


def test_the_preset_auto_is_the_best_one_but_for_what_follows_from_the_data():
    """What the help shows of it."""
    values = np.ones(60, np.int32)
    data = Sequences(values, np.array([0, 10]), np.array([10, 60]), num_items=1)
    found = auto_settings(data)
    differing = {
        field.name
        for field in fields(TrainSettings)
        if getattr(found, field.name) != getattr(BEST, field.name)
    }
    assert differing <= {*BY_THE_DATA}
    assert defaults_of(train.train)["preset"] == "auto"


def test_the_command_line_overrides_no_setting_unasked():
    ours = defaults_of(train.train)
    assert {ours[field.name] for field in fields(TrainSettings)} == {None}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (train.train, run_training),
        (evaluate.evaluate, rank_held_out),
        (recommend.recommend, Recommender.recommend),
        (cli_prepare.prepare, Preprocessing),
        (cli_prepare.prepare, prepare),
        (prepare_dataset, prepare),
        (Recommender.recommend, BERT4Rec.recommend),
        (rank_held_out, BERT4Rec.recommend),
        (TrainSettings, rank_held_out),
        (BERT4RecConfig, ops.sample_negatives),
    ],
)
def test_a_command_has_the_defaults_of_what_it_calls(first, second):
    assert defaults_of(first).keys() & defaults_of(second).keys()
    assert differing(first, second) == set()


def test_items_of_the_history_are_left_out_everywhere_unless_asked_for():
    for command in (evaluate.evaluate, recommend.recommend):
        assert defaults_of(command)["include_seen"] is False
    for function in (rank_held_out, Recommender.recommend, TrainSettings):
        assert defaults_of(function)["exclude_seen"] is True
