"""Times that differ stay different, whatever they are written in."""

import duckdb
import pytest

from b4r_fast import InputError
from b4r_fast.data import Columns, prepare

from .histories import raw_histories


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("9", "10"),  # as text 10 comes first
        ("1.5", "1.75"),  # as whole numbers both are 2
        ("-5", "1e3"),
        ("2024-05-31", "2024-05-31 00:00:01"),
        ("2024-01-01T00:30:00+02:00", "2023-12-31T23:00:00Z"),  # the zone counts
        ("1700000000000000100", "1700000000000000200"),  # nanoseconds, which no double tells apart
        ("1700000000000000100.0", "1700000000000000101.0"),  # that a program has made floats
        ("9223372036854775807", "18446744073709551615"),  # 64 bits without a sign
        ("1700000000.123456788", "1700000000.123456789"),  # seconds with nanoseconds
        ("1700000000123.4567", "1700000000123.45671"),  # milliseconds
        ("2024-05-31T10:00:00.123456788Z", "2024-05-31T10:00:00.123456789Z"),
        ("2024-05-31 10:00:00.1234567+00:00", "2024-05-31 10:00:00.12345678+00:00"),
        ("1969-12-31T23:59:59.999999998Z", "1969-12-31T23:59:59.999999999Z"),
        ("0001-01-01T00:00:00.0000000Z", "2024-05-31T10:00:00.1000000Z"),  # C#'s first day
    ],
)
def test_times_are_numbers_or_dates_to_their_last_digit(tmp_path, earlier, later):
    log = tmp_path / "log.csv"
    log.write_text(f"user,item,time\nx,b,{later}\nx,a,{earlier}\n")
    assert raw_histories(prepare(log, tmp_path / "out")) == {"x": ["a", "b"]}


@pytest.mark.parametrize(
    "finer",
    [
        "170000000000000010.12345",  # more than a double holds
        "36893488147419103232",
        "2024-05-31T10:00:00.1234567891Z",  # more than nanoseconds
        "2300-05-31T10:00:00.123456789Z",  # after the last year of nanoseconds in 64 bits
    ],
)
def test_a_time_too_fine_to_be_told_from_the_next_is_refused(tmp_path, finer):
    log = tmp_path / "log.csv"
    log.write_text(f"user,item,time\nx,b,{finer}\n")
    with pytest.raises(InputError, match=r"row 2: column 'time', the time, is '"):
        prepare(log, tmp_path / "out")


def test_nanoseconds_of_parquet_are_kept(tmp_path):
    log = tmp_path / "log.parquet"
    duckdb.connect().execute(
        "COPY (SELECT 1 AS user_id, i AS item_id,"
        " make_timestamp_ns(1700000000000000009 - i) AS timestamp FROM range(5) t(i))"
        f" TO '{log}' (FORMAT parquet)"
    )
    assert raw_histories(prepare(log, tmp_path / "out")) == {"1": ["4", "3", "2", "1", "0"]}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("user,item,date,time\nx,b,2024-05-31,09:00\nx,a,2024-05-30,10:00:30\n", "date time"),
        ("user,Time,item,Date\nx,09:00,b,2024-05-31\nx,10:00,a,2024-05-30\n", "Date Time"),
    ],
)
def test_a_date_beside_a_time_of_day_is_one_time(tmp_path, content, name):
    """The second alone counted: a time that was a number put actions in the order of the hour."""
    log = tmp_path / "log.csv"
    log.write_text(content)
    data = prepare(log, tmp_path / "out")
    assert raw_histories(data) == {"x": ["a", "b"]}
    assert data.statistics["columns"] == {"user": "user", "item": "item", "time": name}


def test_a_date_and_a_time_of_parquet_are_one_time(tmp_path):
    log = tmp_path / "log.parquet"
    duckdb.connect().execute(
        "COPY (SELECT * FROM (VALUES (1, 'b', DATE '2024-05-31', TIME '09:00:00'), (1, 'a', DATE"
        " '2024-05-30', TIME '10:00:00')) t(user_id, item_id, date, time))"
        f" TO '{log}' (FORMAT parquet)"
    )
    assert raw_histories(prepare(log, tmp_path / "out")) == {"1": ["a", "b"]}


@pytest.mark.parametrize(
    ("header", "moment", "message"),
    [
        (
            "date,time",
            "20240531,930",
            r"row 2: column 'date time', the time, is '20240531 930': neither a number nor a date"
            r" such as 2024-05-31 17:00:00, to the nanosecond; `time_column` names another column",
        ),
        ("date,time", "2024-05-31,", r"row 2: column 'date time', the time, is empty"),
        (
            "timestamp,date",
            "1,2024-05-31",
            r"2 columns look like the time: timestamp, date; name one with `time_column`",
        ),
    ],
)
def test_two_columns_that_make_no_time_ask_for_one(tmp_path, header, moment, message):
    log = tmp_path / "log.csv"
    log.write_text(f"user,item,{header}\nx,a,{moment}\n")
    with pytest.raises(InputError, match=message):
        prepare(log, tmp_path / "out")
    second = Columns(time=header.split(",")[0])
    assert prepare(log, tmp_path / "out", columns=second).statistics["actions"] == 1
