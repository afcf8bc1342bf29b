"""A row is an action, or a list of them: none vanishes, and no two ids become one."""

import duckdb
import pytest

from b4r_fast import InputError
from b4r_fast.data import Columns, prepare

from .histories import raw_histories


@pytest.fixture
def parquet(tmp_path):
    """Write a query's rows as Parquet."""

    def write(query):
        duckdb.connect().execute(f"COPY ({query}) TO '{tmp_path / 'log.parquet'}' (FORMAT parquet)")
        return tmp_path / "log.parquet"

    return write


@pytest.mark.parametrize(
    ("query", "histories"),
    [
        (
            "VALUES ('a', [1, 2, 3]), ('b', [2, 3]), ('a', [4])",
            {"a": ["1", "2", "3", "4"], "b": ["2", "3"]},
        ),
        ("VALUES ('a', ['x', 'y'], [2, 1]), ('a', ['z'], [0])", {"a": ["z", "y", "x"]}),
        # one time for all of a session
        ("VALUES ('a', ['x', 'y'], 2), ('a', ['z'], 1)", {"a": ["z", "x", "y"]}),
        ("VALUES ('a', array_value(7, 8), array_value(2, 1))", {"a": ["8", "7"]}),
    ],
    ids=["items", "items and times", "a time for the list", "arrays of a fixed length"],
)
def test_a_list_of_items_is_as_many_actions(tmp_path, parquet, query, histories):
    """It was one item called '[1, 2, 3]'."""
    names = ", ".join(("user_id", "item_id", "timestamp")[: len(duckdb.sql(query).columns)])
    log = parquet(f"SELECT * FROM ({query}) t({names})")
    assert raw_histories(prepare(log, tmp_path / "out")) == histories


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "SELECT 'a' AS user_id, [1] AS item_id, [1] AS ts UNION ALL SELECT 'a', [1, 2], [1]",
            r"row 2: column 'ts', the time, has 1 values for 2 items",
        ),
        (
            "SELECT 'a' AS user_id, [1] AS item_id UNION ALL SELECT 'b', []",
            r"row 2: column 'item_id', the item, is empty",
        ),
        (
            "SELECT 'a' AS user_id, [1] AS item_id UNION ALL SELECT 'b', NULL",
            r"row 2: column 'item_id', the item, is empty",
        ),
        (
            "SELECT 'a' AS user_id, [1, 2] AS item_id UNION ALL SELECT 'b', [3, NULL]",
            r"row 2: column 'item_id', the item, is empty",
        ),
        ("SELECT 'a' AS user_id, [[1]] AS item_id", r"'item_id', the item, holds records, or list"),
        ("SELECT 'a' AS user_id, {'x': 1} AS item_id", r"'item_id', the item, holds records"),
        ("SELECT ['a'] AS user_id, 1 AS item_id", r"column 'user_id', the user, holds lists"),
        ("SELECT 'a' AS user_id, 1 AS item_id, [1] AS ts", r"column 'ts', the time, holds lists"),
        (
            "SELECT 'a' AS user_id, 1 AS item_id, [1] AS item_id_list",
            r"2 columns look like the item: item_id, item_id_list; name one with `item_column`",
        ),
    ],
)
def test_lists_that_would_lose_an_action_are_named(tmp_path, parquet, query, message):
    with pytest.raises(InputError, match=message):
        prepare(parquet(query), tmp_path / "out")


def test_a_sequence_of_recbole_is_split_at_blanks(tmp_path):
    log = tmp_path / "log.inter"
    header = "session_id:token\titem_id_list:token_seq\ttimestamp_list:float_seq\titem_id:token\n"
    log.write_text(header + "a\t1 2\t9 8\t3\nb\t2\t1\t3\n")
    with pytest.raises(InputError, match="2 columns look like the item: item_id, item_id_list;"):
        prepare(log, tmp_path / "out")
    lists = prepare(log, tmp_path / "out", columns=Columns(item="item_id_list"))
    assert raw_histories(lists) == {"a": ["2", "1"], "b": ["2"]}
    log.write_text("session_id:token\titem_id:token_seq\na\t1 2\nb\t\n")
    with pytest.raises(InputError, match="row 3: column 'item_id', the item, is empty"):
        prepare(log, tmp_path / "out")


def test_bytes_of_parquet_are_text_in_utf_8(tmp_path, parquet):
    r"""Files that do not say so gave the id caf\xC3\xA9."""
    log = parquet("SELECT 'a' AS user_id, encode(i) AS item_id FROM (VALUES ('café'), ('b')) t(i)")
    assert raw_histories(prepare(log, tmp_path / "out")) == {"a": ["café", "b"]}
    log = parquet("SELECT 'a' AS user_id, '\\xC3'::BLOB AS item_id")
    with pytest.raises(InputError, match="row 1: column 'item_id', the item, is empty or no UTF-8"):
        prepare(log, tmp_path / "out")


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
def test_whole_numbers_in_a_column_of_floats_are_ids_without_a_point(tmp_path, parquet, kind):
    """pandas makes floats of them where one is missing: `1.0` was nobody's id."""
    values = f"(VALUES (1::{kind}, 7), (10, 8), (1, 9.5)) t(u, i)"
    log = parquet(f"SELECT u AS user_id, i::{kind} AS item_id FROM {values}")
    assert raw_histories(prepare(log, tmp_path / "out")) == {"1": ["7", "9.5"], "10": ["8"]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("'nan'::DOUBLE", "is empty"),
        ("1700000000000000101::DOUBLE", r"is '1.7e\+18': of so large ids a column of DOUBLE"),
        ("16777217::FLOAT", "of so large ids a column of FLOAT merges some"),
    ],
)
def test_floats_that_are_no_ids_are_named(tmp_path, parquet, value, message):
    with pytest.raises(InputError, match=rf"row 1: column 'user_id', the user, .*{message}"):
        prepare(parquet(f"SELECT {value} AS user_id, 1 AS item_id"), tmp_path / "out")


def test_an_id_with_a_point_in_a_text_stays_as_it_is(tmp_path):
    """There it may be the name of a version."""
    log = tmp_path / "log.csv"
    log.write_text("user,item\nx,1.0\nx,1\n")
    assert raw_histories(prepare(log, tmp_path / "out")) == {"x": ["1.0", "1"]}


def test_padding_beside_a_delimiter_is_no_part_of_names_or_ids(tmp_path):
    """ "x, a" gave another item than "x,a"."""
    log = tmp_path / "log.csv"
    log.write_text('user, "item" ,\ttime\nx, a, 2\nx ,"b",1\ny,\ta\t, 3\n')
    assert raw_histories(prepare(log, tmp_path / "out")) == {"x": ["b", "a"], "y": ["a"]}


def test_two_columns_of_one_name_are_told_apart_by_number(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("user,item,item\nx,a,b\n")
    with pytest.raises(InputError, match=r"2 columns look like the item: item, item; name one"):
        prepare(log, tmp_path / "out")
    with pytest.raises(InputError, match=r"2 columns are called 'item'; give the item's number"):
        prepare(log, tmp_path / "out", columns=Columns(item="item"))
    data = prepare(log, tmp_path / "out", columns=Columns(item="3"))
    assert raw_histories(data) == {"x": ["b"]}
    assert data.statistics["columns"] == {"user": "user", "item": "item"}
