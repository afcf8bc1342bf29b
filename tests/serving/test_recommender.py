import shutil

import numpy as np
import pytest

from b4r_fast import BERT4Rec, InputError
from b4r_fast.data import PreparedData
from b4r_fast.serving import Recommender

from ..training.small_runs import prepare_small_data, train_small


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_small_data(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    run = tmp_path_factory.mktemp("served") / "run"
    train_small(run, data)
    return run


@pytest.fixture(scope="module")
def recommender(run):
    return Recommender(run)


def test_raw_recommendations_are_those_of_the_model(recommender, run, data):
    history = ["i3", "i17", "i5"]
    ids = PreparedData.open(data).item_ids
    expected = BERT4Rec.from_pretrained(run).recommend([ids.to_internal(history).tolist()], k=5)
    (got,) = recommender.recommend([history], k=5)
    assert got.items == ids.to_raw(expected.ids[0].numpy())
    assert got.scores == pytest.approx(expected.scores[0].tolist())
    assert got.skipped == []


def test_seen_items_come_back_only_when_asked_for(recommender):
    history = [f"i{item}" for item in range(28)]
    (without,) = recommender.recommend([history], k=30)
    assert sorted(without.items) == ["i28", "i29"]  # no more are left, so no more come
    (including,) = recommender.recommend([history], k=30, exclude_seen=False)
    assert sorted(including.items) == sorted(f"i{item}" for item in range(30))


def test_candidates_restrict_what_is_recommended(recommender):
    (got,) = recommender.recommend([["i1", "i2"]], k=10, candidates=["i2", "i7", "i9"])
    assert sorted(got.items) == ["i7", "i9"]


def test_k_beyond_the_catalogue_gives_what_there_is(recommender):
    (got,) = recommender.recommend([["i1"]], k=10_000)
    assert len(got.items) == 29


def test_an_empty_history_is_a_user_of_whom_nothing_is_known(recommender):
    (got,) = recommender.recommend([[]], k=3)
    assert len(got.items) == 3


def test_items_that_the_model_does_not_know_are_left_out_and_reported(recommender):
    (known,) = recommender.recommend([["i1", "i2"]], k=4)
    (mixed,) = recommender.recommend([["new", "i1", "newer", "i2"]], k=4)
    assert mixed.items == known.items
    assert mixed.skipped == ["new", "newer"]


def test_a_history_of_unknown_items_alone_is_an_empty_one(recommender):
    (unknown,) = recommender.recommend([["new"]], k=3)
    (empty,) = recommender.recommend([[]], k=3)
    assert unknown.items == empty.items


def test_users_beyond_one_batch_get_what_they_would_get_alone(recommender):
    generator = np.random.default_rng(0)
    histories = [
        [f"i{item}" for item in generator.choice(30, 5, replace=False)] for _ in range(300)
    ]
    together = list(recommender.recommend(histories, k=3))
    assert len(together) == 300
    for place in (0, 255, 256, 299):
        (alone,) = recommender.recommend([histories[place]], k=3)
        assert together[place].items == alone.items


def test_the_history_of_a_known_user_is_read_from_the_prepared_data(recommender, data):
    prepared = PreparedData.open(data)
    expected = prepared.item_ids.to_raw(
        prepared.sequences[prepared.user_ids.to_internal(["u7"])[0]]
    )
    assert recommender.history_of("u7") == expected


def test_an_unknown_user_is_named(recommender):
    with pytest.raises(InputError, match="unknown user 'nobody'"):
        recommender.history_of("nobody")


def test_an_unknown_candidate_is_named(recommender):
    with pytest.raises(InputError, match="unknown item 'new'"):
        list(recommender.recommend([["i1"]], candidates=["i2", "new"]))


@pytest.mark.parametrize(
    "histories", ["i1", ["i1", "i2"], [1, 2], [[["i1"]]], [[None]], [[True]], [b"i1"], [[1.5]]]
)
def test_histories_that_are_no_lists_of_ids_are_refused(recommender, histories):
    """A text was a user of its characters, and a list in a list an item nobody knows."""
    with pytest.raises(InputError, match="must be a list of raw item ids for each user"):
        list(recommender.recommend(histories))


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_k_below_one_is_refused(recommender, k):
    with pytest.raises(InputError, match="at least 1"):
        list(recommender.recommend([["i1"]], k=k))


def test_a_run_folder_serves_from_elsewhere_without_the_prepared_data(
    run, data, tmp_path, recommender
):
    moved = shutil.copytree(run, tmp_path / "moved")
    away = data.with_name("away")
    data.rename(away)
    try:
        (got,) = Recommender(moved).recommend([["i3"]], k=3)
    finally:
        away.rename(data)
    (expected,) = recommender.recommend([["i3"]], k=3)
    assert got == expected


def test_a_folder_that_is_no_run_says_what_makes_one(tmp_path):
    with pytest.raises(InputError, match="`train` makes one"):
        Recommender(tmp_path)


# Nothing, within the length of the header, within the tensors.
@pytest.mark.parametrize("size", [0, 7, 200])
def test_truncated_weights_are_named_in_one_line(run, tmp_path, size):
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"model\.safetensors") as error:
        Recommender(copy)
    assert "\n" not in str(error.value)


# The second overflows in the product of bias and score.
@pytest.mark.parametrize(("value", "what"), [(np.nan, "weights"), (1e38, "scores")])
def test_a_model_of_a_training_that_diverged_is_refused(run, tmp_path, value, what):
    """NaN came out as a score, which is no JSON either."""
    copy = shutil.copytree(run, tmp_path / "copy")
    model = BERT4Rec.from_pretrained(copy)
    model.output_bias.data.fill_(value)
    model.item_embedding.weight.data.fill_(value)
    model.save_pretrained(copy)
    with pytest.raises(InputError, match=f"{what} that are not finite"):
        list(Recommender(copy).recommend([["i1"]]))


def test_an_item_map_of_another_catalogue_is_refused(run, tmp_path):
    (tmp_path / "other.txt").write_text("a b c\nb c d\n")
    from b4r_fast.data import prepare

    copy = shutil.copytree(run, tmp_path / "copy")
    prepare(tmp_path / "other.txt", tmp_path / "other").item_ids.copy_to(copy / "items.parquet")
    with pytest.raises(InputError, match=r"items\.parquet: is not the map of items"):
        Recommender(copy)
