"""A run and its data belong together, wherever the data lies, whatever is prepared in its place."""

import json
import shutil

import pytest
from rich.console import Console

from b4r_fast import InputError
from b4r_fast.data import prepare
from b4r_fast.serving import Recommender
from b4r_fast.training import RunFile
from b4r_fast.training.origin import open_data
from b4r_fast.training.train import train


@pytest.fixture
def folder(data, whole_run, tmp_path):
    """A copy of the data and of its run, which a test may spoil."""
    shutil.copytree(data, tmp_path / "data")
    run = shutil.copytree(whole_run, tmp_path / "run")
    change(run, data=str(tmp_path / "data"))
    return tmp_path


def change(run, **values):
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | values))


def prepare_anew(folder, data, edit):
    """The nightly job: the log, edited, prepared into the folder that the run was trained on."""
    header, *rows = data.with_name("log.tsv").read_text().splitlines()
    (folder / "log.tsv").write_text("\n".join([header, *edit(rows)]) + "\n")
    prepare(folder / "log.tsv", folder / "data")


def resume(folder, **options):
    return train(folder / "run", None, console=Console(quiet=True), **options)


def backwards(rows):
    """The same items and as many of them, numbered otherwise; the users too."""
    return rows[::-1]


def with_the_last_two_swapped(rows):
    """What is left the same: all items and their numbers, all users."""
    (*first, one), (*second, two) = (row.split("\t") for row in rows[-2:])
    return [*rows[:-2], "\t".join([*first, two]), "\t".join([*second, one])]


def test_histories_of_data_prepared_anew_are_refused_not_decoded_with_other_items(folder, data):
    assert Recommender(folder / "run").history_of("u5")
    prepare_anew(folder, data, backwards)
    with pytest.raises(InputError, match="its items and users and actions are not those that"):
        Recommender(folder / "run").history_of("u5")


def test_histories_come_from_data_that_has_moved_or_gone_on(folder, data):
    """There was no way to say where it lies now."""
    expected = Recommender(folder / "run").history_of("u5")
    (folder / "data").rename(folder / "moved")
    assert Recommender(folder / "run", folder / "moved").history_of("u5") == expected
    prepare_anew(folder, data, with_the_last_two_swapped)
    (folder / "data").rename(folder / "newer")
    assert Recommender(folder / "run", folder / "newer").history_of("u5") == expected
    prepare_anew(folder, data, backwards)  # items have other numbers, and the same raw ids
    of_other_numbers = Recommender(folder / "run", folder / "data").history_of("u5")
    assert sorted(of_other_numbers) == sorted(expected)


@pytest.mark.parametrize("edit", [backwards, with_the_last_two_swapped])
def test_a_run_does_not_go_on_with_data_prepared_anew(folder, data, edit):
    before = (folder / "run" / "checkpoints" / "last.ckpt").read_bytes()
    prepare_anew(folder, data, edit)
    with pytest.raises(InputError, match=r"actions are not those that .*run was trained on"):
        resume(folder)
    assert (folder / "run" / "checkpoints" / "last.ckpt").read_bytes() == before


def test_the_same_log_prepared_anew_is_the_same_data(folder, data):
    prepare_anew(folder, data, list)
    resume(folder)
    assert Recommender(folder / "run").history_of("u5")


def test_data_that_was_moved_is_found_where_it_is_named_and_run_json_says_so(folder):
    (folder / "data").rename(folder / "moved")
    with pytest.raises(InputError, match="is no longer there; say with `data` where it lies now"):
        resume(folder)
    resume(folder, data=folder / "moved")
    assert RunFile.read(folder / "run").data == str(folder / "moved")
    assert Recommender(folder / "run").history_of("u5")


def test_resuming_names_the_data_that_is_not_the_run_s(folder):
    with pytest.raises(InputError, match="elsewhere: not a folder of prepared data"):
        resume(folder, data=folder / "elsewhere")
    (folder / "log.txt").write_text("a b c d\nb c d a\n")
    prepare(folder / "log.txt", folder / "other")
    with pytest.raises(InputError, match="other: its items and users and actions are not"):
        resume(folder, data=folder / "other")


def test_a_run_of_before_fingerprints_opens_and_its_items_are_compared(folder, data):
    content = json.loads((folder / "run" / "run.json").read_text())
    del content["fingerprint"]
    (folder / "run" / "run.json").write_text(json.dumps(content))
    assert Recommender(folder / "run").history_of("u5")
    prepare_anew(folder, data, backwards)
    with pytest.raises(InputError, match="its items are not those"):
        resume(folder)


def test_the_item_map_of_another_run_is_refused_though_it_is_as_long(folder, data):
    """Recommendations came out, in ids of other items."""
    prepare_anew(folder, data, backwards)
    shutil.copyfile(folder / "data" / "items.parquet", folder / "run" / "items.parquet")
    with pytest.raises(InputError, match=r"items\.parquet: is not the map of items"):
        Recommender(folder / "run")


def test_data_that_is_named_for_evaluation_may_have_other_actions_of_the_same_items(folder, data):
    prepare_anew(folder, data, with_the_last_two_swapped)
    run = folder / "run"
    open_data(run, RunFile.read(run), folder / "data", ("items",))
    with pytest.raises(InputError, match="its actions are not those"):
        open_data(run, RunFile.read(run))
