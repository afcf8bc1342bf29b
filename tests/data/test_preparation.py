"""What is kept, in which order, and what is written: against the plain definition, and on real
data.
"""

import gzip
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from b4r_fast import InputError
from b4r_fast.data import PreparedData, Preprocessing, RawIds, preparation, prepare

from .histories import naive_histories, raw_histories

# The tables of ../shared/data/README.md.
REAL = {
    "ml-1m": {
        "users": 6040,
        "items": 3416,
        "actions": 999_611,
        "shortest": 18,
        "median_length": 96,
        "longest": 2277,
    },
    "beauty": {
        "users": 40_226,
        "items": 54_542,
        "actions": 353_962,
        "shortest": 5,
        "median_length": 6,
        "longest": 293,
    },
    "ml-100k": {
        "users": 943,
        "items": 1682,
        "actions": 100_000,
        "shortest": 20,
        "median_length": 65,
        "longest": 737,
    },
}
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from("uvwxyz"), st.sampled_from("abcdef"), st.integers(0, 3), st.integers(1, 5)
    ),
    min_size=1,
    max_size=40,
)
OPTIONS = st.builds(
    Preprocessing,
    min_rating=st.sampled_from([None, 2, 3.5]),
    min_user_actions=st.integers(1, 4),
    min_item_actions=st.integers(1, 4),
    deduplicate=st.sampled_from([None, "first", "last"]),
)


def write_csv(path, actions):
    path.write_text(
        "user,item,time,rating\n" + "".join(",".join(map(str, action)) + "\n" for action in actions)
    )
    return path


@pytest.mark.parametrize("name", REAL)
def test_real_sequences_come_back_with_their_published_statistics(shared_data, tmp_path, name):
    data = prepare(shared_data / f"{name}.txt.gz", tmp_path / "out")
    assert {key: data.statistics[key] for key in REAL[name]} == REAL[name]
    with gzip.open(shared_data / f"{name}.txt.gz", "rt") as file:
        lines = [line.split() for line in file]
    raw = data.item_ids.raw[np.asarray(data.sequences.values) - 1]
    assert raw.tolist() == [item for line in lines for item in line]
    assert data.sequences.lengths.tolist() == [len(line) for line in lines]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS, options=OPTIONS)
def test_what_is_kept_and_its_order_are_those_of_the_plain_definition(tmp_path, actions, options):
    log, expected = write_csv(tmp_path / "log.csv", actions), naive_histories(actions, options)
    if not expected:
        with pytest.raises(InputError, match="no action is left after `min_"):
            prepare(log, tmp_path / "out", preprocessing=options)
        return
    assert raw_histories(prepare(log, tmp_path / "out", preprocessing=options)) == expected


def test_order_is_pythons_stable_sort_across_threads_and_chunks(tmp_path, monkeypatch):
    # More than one of DuckDB's row groups of 122,880, ties everywhere, and seams of reading that do
    # not fall on users.
    monkeypatch.setattr(preparation, "CHUNK", 7919)
    draw = np.random.default_rng(0)
    users, items, times = (
        draw.integers(0, 300, 200_000),
        draw.integers(0, 5000, 200_000),
        draw.integers(0, 50, 200_000),
    )
    actions = [
        (f"u{u}", f"i{i}", t, 1) for u, i, t in zip(users.tolist(), items.tolist(), times.tolist())
    ]
    data = prepare(write_csv(tmp_path / "log.csv", actions), tmp_path / "out")
    assert raw_histories(data) == naive_histories(actions, Preprocessing())


def test_actions_that_come_back_out_of_order_are_noticed():
    good = {
        "user": np.array([0, 0, 0, 1]),
        "time": np.array([1, 1, 2, 0]),
        "row": np.array([3, 5, 1, 2]),
    }
    preparation._assert_ordered(good)
    for key in good:
        swapped = {name: column.copy() for name, column in good.items()}
        swapped[key][:2] = swapped[key][:2][::-1] + np.array([1, 0])
        with pytest.raises(RuntimeError, match="out of order"):
            preparation._assert_ordered(swapped)


def test_removing_an_item_can_remove_a_user_and_so_on(tmp_path):
    # c has one action; without it v has one; without v, b has one; without b, u has one: a single
    # pass would stop early.
    actions = [
        ("u", "a", 1, 1),
        ("u", "b", 2, 1),
        ("v", "b", 1, 1),
        ("v", "c", 2, 1),
        *[(x, i, 1, 1) for x in "xy" for i in "de"],
    ]
    data = prepare(
        write_csv(tmp_path / "l.csv", actions),
        tmp_path / "o",
        preprocessing=Preprocessing(None, 2, 2),
    )
    assert raw_histories(data) == {"x": ["d", "e"], "y": ["d", "e"]}


def test_items_are_numbered_by_popularity_and_users_by_first_appearance(tmp_path):
    actions = [("z", "rare", 9, 1), ("y", "often", 8, 1), ("z", "often", 1, 1), ("a", "twin", 1, 1)]
    data = prepare(write_csv(tmp_path / "log.csv", actions), tmp_path / "out")
    assert data.item_ids.raw.tolist() == ["often", "rare", "twin"]
    assert data.user_ids.raw.tolist() == ["z", "y", "a"]
    assert (
        np.load(data.folder / "counts.npy").tolist()
        == data.sequences.counts().tolist()
        == [0, 2, 1, 1]
    )


def test_a_user_with_one_action_is_kept(tmp_path):
    data = prepare(
        write_csv(tmp_path / "log.csv", [("x", "a", 1, 1), *[("y", item, 1, 1) for item in "abc"]]),
        tmp_path / "out",
    )
    assert raw_histories(data) == {"x": ["a"], "y": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("histories", "shares"),
    [
        (["a b a c", "d d d", "e f"], (3 / 6, 3 / 4)),  # held out: a and c, d and d
        (["a b c"], (0, 0)),
        (["a a"], (1, None)),
        (["a"], (None, None)),
    ],
)
def test_statistics_say_what_share_of_the_actions_is_on_an_item_again(histories, shares, tmp_path):
    """Who recommends no item twice can be right on the others alone."""
    (tmp_path / "log.txt").write_text("\n".join(histories) + "\n")
    data = prepare(tmp_path / "log.txt", tmp_path / "out", file_format="sequences")
    assert (data.statistics["repeats"], data.statistics["held_out_repeats"]) == shares


def test_preparing_again_gives_the_same_bytes(tmp_path):
    log = write_csv(
        tmp_path / "log.csv", [(f"u{i % 7}", f"i{i % 5}", i % 3, 1) for i in range(200)]
    )
    first, second = prepare(log, tmp_path / "1").folder, prepare(log, tmp_path / "2").folder
    for name in ("values.npy", "offsets.npy", "counts.npy", "statistics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_data_in_use_outlives_its_replacement(tmp_path):
    old = prepare(
        write_csv(tmp_path / "log.csv", [("x", "a", 1, 1), ("x", "b", 2, 1)]), tmp_path / "out"
    )
    new = prepare(write_csv(tmp_path / "log.csv", [("x", "c", 1, 1)]), tmp_path / "out")
    assert len(old.sequences[0]) == 2  # still mapped
    assert raw_histories(new) == {"x": ["c"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "out"]


def test_a_folder_that_is_not_prepared_data_is_never_replaced(tmp_path):
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1)])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    with pytest.raises(
        InputError,
        match=r"thesis: exists and is not prepared data; it is left alone, choose another `out`",
    ):
        prepare(log, tmp_path / "thesis")
    with pytest.raises(InputError, match=r"log.csv: is a file; it is left alone"):
        prepare(log, log)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    prepare(log, tmp_path / "empty")


def test_a_log_that_lies_in_the_prepared_folder_is_not_lost(tmp_path):
    out = prepare(write_csv(tmp_path / "log.csv", [("x", "a", 1, 1)]), tmp_path / "out").folder
    log = write_csv(out / "log.csv", [("x", "b", 1, 1)])
    with pytest.raises(InputError, match=r"out: holds log.csv beside prepared data"):
        prepare(log, out)
    assert log.is_file()


def test_a_file_that_comes_while_the_log_is_read_is_not_lost(tmp_path):
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1)])
    kept = prepare(log, tmp_path / "out").folder / "notes.md"
    with pytest.raises(InputError, match=r"out: holds notes.md beside prepared data"):
        prepare(log, tmp_path / "out", progress=lambda step: kept.write_text("mine"))
    assert kept.read_text() == "mine"
    assert len(PreparedData.open(tmp_path / "out").sequences) == 1


def test_statistics_that_differ_from_the_expected_ones_replace_nothing(tmp_path):
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1)])
    with pytest.raises(
        InputError,
        match=r"log.csv: gives 1 actions, where 1,000 are published: not the expected data",
    ):
        prepare(log, tmp_path / "out", expected={"users": 1, "actions": 1000})
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_the_previous_data_stays(tmp_path, monkeypatch):
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1)])
    kept = raw_histories(prepare(log, tmp_path / "out"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "_write_values", full)
    with pytest.raises(
        InputError,
        match=r"cannot write .*out: No space left on device; the previous out is untouched",
    ):
        prepare(log, tmp_path / "out")
    assert raw_histories(PreparedData.open(tmp_path / "out")) == kept


def test_too_little_memory_says_which_option_gives_more(tmp_path):
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1)])
    with pytest.raises(
        InputError,
        match=r"log.csv: 1MB of memory is not enough for it; give more with `memory_limit`",
    ):
        prepare(log, tmp_path / "out", memory_limit="1MB")
    with pytest.raises(InputError, match=r"`memory_limit` must be a size such as 2GB, got 'much'"):
        prepare(log, tmp_path / "out", memory_limit="much")
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    "damage",
    [
        "no array",
        "short array",
        "other array",
        "no statistics",
        "foreign statistics",
        "statistics of other data",
        "statistics without numbers",
        "statistics with a fraction",
        "statistics nested without end",
    ],
)
def test_a_damaged_folder_is_not_opened(tmp_path, damage):
    folder = prepare(
        write_csv(tmp_path / "log.csv", [("x", "a", 1, 1), ("x", "b", 1, 1)]), tmp_path / "out"
    ).folder
    values, statistics = folder / "values.npy", folder / "statistics.json"
    if damage == "no array":
        values.unlink()
    elif damage == "short array":
        values.write_bytes(values.read_bytes()[:-1])
    elif damage == "other array":
        np.save(values, np.array([1, 2, 1], np.int32))
    elif damage == "no statistics":
        statistics.unlink()
    elif damage == "foreign statistics":
        statistics.write_text("[]")
    elif damage == "statistics nested without end":
        statistics.write_text("[" * 100_000)
    else:
        items = {"without numbers": None, "with a fraction": 2.0}.get(damage[11:], 7)
        statistics.write_text(json.dumps(json.loads(statistics.read_text()) | {"items": items}))
    with pytest.raises(InputError, match=r"out: (its|not a folder of prepared data|values.npy)"):
        PreparedData.open(folder)


def test_raw_ids_go_both_ways_and_unknown_ones_are_named(tmp_path):
    data = prepare(
        write_csv(tmp_path / "log.csv", [("x", "a", 1, 1), ("y", "a", 1, 1), ("x", "b", 2, 1)]),
        tmp_path / "out",
    )
    data.item_ids.copy_to(tmp_path / "items.parquet")
    items = RawIds(tmp_path / "items.parquet", "item", first=1)
    assert items.to_internal(["b", "a", "b"]).tolist() == [2, 1, 2]
    assert items.to_raw(np.array([2, 1])) == ["b", "a"]
    assert items.to_raw(np.array([], np.int64)) == []
    assert data.user_ids.to_internal(["y"]).tolist() == [1]
    with pytest.raises(InputError, match=r"unknown item 'c': it is not among the 2 items of"):
        items.to_internal(["a", "c"])
    for wrong in (
        0,
        -1,
        3,
    ):  # 0 is padding and -1 an empty place: neither may wrap around to the last item
        with pytest.raises(ValueError, match=r"item ids must lie in \[1, 2\]"):
            items.to_raw(np.array([wrong]))
    (tmp_path / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"items.parquet: not a readable map of item ids"):
        RawIds(tmp_path / "items.parquet", "item", first=1).to_raw(np.array([1]))


@pytest.mark.parametrize("name", ["values.npy", "offsets.npy", "counts.npy"])
def test_an_array_whose_header_is_damaged_is_named_in_one_line(tmp_path, name):
    """NumPy reads it with Python's own parser, whose errors came through."""
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1), ("x", "b", 1, 1)])
    array = prepare(log, tmp_path / "out").folder / name
    array.write_bytes(array.read_bytes().replace(b"}", b" "))
    with pytest.raises(InputError, match=r"out: values\.npy, offsets\.npy or counts\.npy is"):
        PreparedData.open(tmp_path / "out")


@pytest.mark.parametrize("value", [0, -1, 3, 2**31 - 1])
def test_item_ids_beyond_the_catalogue_are_noticed_when_the_data_is_opened(tmp_path, value):
    """They were a traceback of the model's, once training ran."""
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1), ("x", "b", 1, 1)])
    folder = prepare(log, tmp_path / "out").folder
    np.save(folder / "values.npy", np.array([1, value], np.int32))
    with pytest.raises(InputError, match=r"values\.npy holds item ids beyond 1 to 2"):
        PreparedData.open(folder)


@pytest.mark.skipif(os.name != "posix", reason="only there a name may be any bytes")
def test_a_name_that_is_not_utf8_serves_as_any(tmp_path):
    """DuckDB said std::bad_cast."""
    odd = tmp_path / os.fsdecode(b"l\xff.csv")
    log = write_csv(tmp_path / "log.csv", [("x", "a", 1, 1), ("x", "b", 1, 1)])
    odd.write_bytes(log.read_bytes())
    data = prepare(odd, tmp_path / os.fsdecode(b"o\xff"))
    assert data.item_ids.to_raw(np.array([1, 2])) == ["a", "b"]
    assert data.sequences.pack().to_lists() == [[1, 2]]
