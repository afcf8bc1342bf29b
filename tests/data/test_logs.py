"""Every format says the same, and what is wrong with a log is named: file, row, field."""

import gzip

import duckdb
import pytest

from b4r_fast import InputError
from b4r_fast.data import Columns, Preprocessing, prepare

from .histories import raw_histories

# Out of order, with a tie of u1 (c before b, as in the file), so that file order alone is not the
# answer.
ROWS = [
    ("u1", "a", 3, 30),
    ("u2", "a", 5, 10),
    ("u1", "c", 4, 20),
    ("u1", "b", 1, 20),
    ("u2", "c", 2, 5),
    ("u3", "b", 5, 7),
]
HISTORIES = {"u1": ["c", "b", "a"], "u2": ["c", "a"], "u3": ["b"]}


def text(delimiter: str, header: str = "") -> bytes:
    return (header + "".join(delimiter.join(map(str, row)) + "\n" for row in ROWS)).encode()


def parquet(tmp_path) -> bytes:
    values = ", ".join(str(row) for row in ROWS)
    target = tmp_path / "made.parquet"
    duckdb.connect().execute(
        f"COPY (SELECT * FROM (VALUES {values}) AS t(user_id, item_id, rating, ts)) TO '{target}'"
        " (FORMAT parquet)"
    )
    return target.read_bytes()


CONTENTS = {
    "log.csv": text(",", "user_id,item_id,rating,timestamp\n"),
    "log.tsv": text("\t", "reviewerID\tasin\toverall\tunixReviewTime\n"),
    "log.inter": text("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"),
    "ratings.dat": text("::"),
    "log.parquet": None,
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_histories(tmp_path, name, packed):
    content = CONTENTS[name] or parquet(tmp_path)
    log = tmp_path / (name + ".gz" if packed else name)
    log.write_bytes(gzip.compress(content) if packed else content)
    assert raw_histories(prepare(log, tmp_path / "out")) == HISTORIES


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_line_of_a_text_file_is_a_user_and_blank_lines_only_count(tmp_path, packed):
    # CRLF here and LF there, a blank line, blanks around and a tab, no newline at the end
    content = b"7 3  9\r\n\n 3 7\t7 \n4 5 6"
    log = tmp_path / ("s.txt.gz" if packed else "s.txt")
    log.write_bytes(gzip.compress(content) if packed else content)
    assert raw_histories(prepare(log, tmp_path / "out")) == {
        "1": ["7", "3", "9"],
        "3": ["3", "7", "7"],
        "4": ["4", "5", "6"],
    }


def test_pairs_are_actions_in_file_order(tmp_path):
    log = tmp_path / "beauty.txt"
    log.write_text('1 b\n2 "a\n1 a\n1 b\n')
    assert raw_histories(prepare(log, tmp_path / "out", file_format="pairs")) == {
        "1": ["b", "a", "b"],
        "2": ['"a'],
    }


def test_two_ids_on_every_line_of_a_text_file_are_not_guessed_at(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("1 10\n1 11\n2 10\n")
    with pytest.raises(
        InputError, match=r"log.txt: every line holds two ids; say `file_format` pairs"
    ):
        prepare(log, tmp_path / "out")
    assert prepare(log, tmp_path / "out", file_format="sequences").statistics["users"] == 3


@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (Columns(user="who", item="what", time="when"), True),
        (Columns(user="1", item="3", time="2"), True),  # by number, although there is a header
        (Columns(user="1", item="3", time="2"), False),
    ],
    ids=["names", "numbers", "no header"],
)
def test_columns_are_taken_by_name_or_number(tmp_path, columns, header):
    log = tmp_path / "log.csv"
    log.write_text(("who,when,what\n" if header else "") + "x,2,b\nx,1,a\n")
    assert raw_histories(prepare(log, tmp_path / "out", columns=columns, header=header)) == {
        "x": ["a", "b"]
    }


@pytest.mark.parametrize(
    "content",
    [
        # a byte-order mark and CRLF, as spreadsheets write
        b"\xef\xbb\xbfuser_id,item_id,ts\r\nx,b,2\r\nx,a,1\r\n",
        b",user_id,item_id,ts\n0,x,b,2\n1,x,a,1\n",  # pandas writes its index under an empty name
        b"user_id,item_id,ts,note,note\nx,b,2,,\nx,a,1,,\n",  # one name twice
        b'\n\n"user_id","item_id","a\nname of two lines",ts\nx,b,,2\n\nx,a,,1\n',
        b"User ID,Item-ID,Time\nx,b,2\nx,a,1",
    ],
    ids=["spreadsheet", "pandas index", "a name twice", "odd lines", "spelling"],
)
def test_headers_as_other_programs_write_them_are_read(tmp_path, content):
    log = tmp_path / "log.csv"
    log.write_bytes(content)
    assert raw_histories(prepare(log, tmp_path / "out")) == {"x": ["a", "b"]}


def test_a_name_that_looks_like_a_pattern_is_that_file_and_no_other(tmp_path):
    (tmp_path / "log[1].csv").write_text("user,item\nx,right\n")
    (tmp_path / "log1.csv").write_text("user,item\nx,wrong\n")
    assert raw_histories(prepare(tmp_path / "log[1].csv", tmp_path / "out")) == {"x": ["right"]}


def test_a_rating_that_nobody_asked_for_may_be_missing(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("user,item,rating\nx,a,\nx,b,5\n")
    assert raw_histories(prepare(log, tmp_path / "out")) == {"x": ["a", "b"]}
    with pytest.raises(InputError, match=r"row 2: column 'rating', the rating, is empty"):
        prepare(log, tmp_path / "out", preprocessing=Preprocessing(min_rating=1))


CUT = gzip.compress(b"user,item\n" + b"x,a\n" * 1000)[:-20]
BROKEN = bytearray(gzip.compress(b"user,item\n" + b"x,a\n" * 1000))
BROKEN[12] ^= 0xFF
BAD = {
    "no such file": ("absent.csv", None, r"absent.csv: no such file"),
    "empty file": ("log.csv", b"", r"log.csv: the file is empty"),
    "header only": ("log.csv", b"user,item\n", r"log.csv: no row of data"),
    "blank lines only": ("log.csv", b"\n\n", r"log.csv: no row of data"),
    "blank sequences only": ("log.txt", b"\n \n", r"log.txt: no row of data"),
    "unclear name": (
        "log.data",
        b"1 2\n",
        r"log.data: the format is not clear from the name; give `file_format`, one of csv",
    ),
    "no user column": (
        "log.csv",
        b"who,item\nx,a\n",
        r"no column looks like the user among: who, item; name it with `user_column`",
    ),
    "too few fields": (
        "log.csv",
        b"user,item,time\nx,a,1\nx,b\n",
        r"log.csv: row 3: 2 fields, where the first row has 3",
    ),
    "too many fields after rows of several lines": (
        "log.csv",
        b'user,item\n\nx,"a\nb"\n\nx,a,1\n',
        r"row 6: 3 fields, where the first row has 2",
    ),
    "too few fields in a packed file": (
        "log.csv.gz",
        gzip.compress(b"user,item\nx,a\nx\n"),
        r"log.csv.gz: row 3: 1 fields",
    ),
    "no user": (
        "log.csv",
        b"user,item\nx,a\n,b\n",
        r"log.csv: row 3: column 'user', the user, is empty",
    ),
    "no item after blank lines and a quoted newline": (
        "log.csv",
        b'user,item\n\nx,"a\nb"\nx,\n',
        r"row 5: column 'item', the item, is empty",
    ),
    "no item in Parquet": (
        "log.parquet",
        "SELECT 1 AS user_id, nullif(i, 2) AS item_id FROM range(4) t(i)",
        r"row 3: column 'item_id'",
    ),
    "one bad time": (
        "log.csv",
        b"user,item,time\nx,a,1\nx,b,soon\nx,c,3\n",
        r"row 3: column 'time', the time, is 'soon': neither a number",
    ),
    "no time": (
        "log.csv",
        b"user,item,time\nx,a,1\nx,b,\n",
        r"row 3: column 'time', the time, is empty",
    ),
    "time not a number": (
        "log.csv",
        b"user,item,time\nx,a,nan\nx,b,1\n",
        r"row 2: column 'time', the time, is 'nan'",
    ),
    "dates and numbers": (
        "log.csv",
        b"user,item,time\nx,a,2024-01-01\nx,b,17\n",
        r"column 'time', the time, is '",
    ),
    "not UTF-8": ("log.csv", b"user,item\nx,caf\xe9\n", r"log.csv: row 2: not UTF-8 text"),
    "open quote": (
        "log.csv",
        b'user,item\nx,"a\nx,b\n',
        r"log.csv: row 2: a quote is opened and never closed",
    ),
    "CRLF and LF": (
        "log.csv",
        b"user,item\r\nx,a\ny,b\r\n",
        r"log.csv: cannot be read: its rows do not all end alike, in LF or in CRLF",
    ),
    "dat with one field": (
        "log.dat",
        b"1,2,3\n",
        r"log.dat: row 1: 1 fields, where dat has user::item::rating::time",
    ),
    "dat with a short row": (
        "log.dat",
        b"1::2::3::4\n1::2\n",
        r"log.dat: row 2: 2 fields, where the first row has 4",
    ),
    "cut gzip": ("log.csv.gz", CUT, r"log.csv.gz: cannot be"),
    "cut gzip of sequences": ("log.txt.gz", CUT, r"log.txt.gz: cannot be"),
    "broken gzip": ("log.csv.gz", bytes(BROKEN), r"log.csv.gz: cannot be"),
    "broken gzip of sequences": ("log.txt.gz", bytes(BROKEN), r"log.txt.gz: cannot be"),
    "gzip by name only": (
        "log.csv.gz",
        b"user,item\nx,a\n",
        r"log.csv.gz: cannot be unpacked: Not a gzipped file",
    ),
    "Parquet by name only": (
        "log.parquet",
        b"user,item\nx,a\n",
        r"log.parquet: cannot be read: No magic bytes",
    ),
    "Parquet by name only, packed": (
        "log.parquet.gz",
        gzip.compress(b"user,item\nx,a\n"),
        r"log.parquet.gz: cannot be read: No magic bytes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_log_is_named_in_one_line_and_what_was_prepared_before_stays(tmp_path, case):
    name, content, message = BAD[case]
    before = tmp_path / "before.csv"
    before.write_text("user,item\nx,a\n")
    kept = raw_histories(prepare(before, tmp_path / "out"))
    if isinstance(content, str):
        duckdb.connect().execute(f"COPY ({content}) TO '{tmp_path / name}' (FORMAT parquet)")
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert raw_histories(prepare(before, tmp_path / "out")) == kept
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "before.csv", name}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(user="userid"), r"no column 'userid' for the user; there are: user, item, time"),
        (Columns(time="4"), r"no column '4' for the time; there are: user, item, time"),
    ],
)
def test_an_unknown_column_is_named_beside_those_that_are_there(tmp_path, columns, message):
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\nx,a,1\n")
    with pytest.raises(InputError, match=message):
        prepare(log, tmp_path / "out", columns=columns)


def test_options_that_sequences_cannot_follow_are_refused(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("1 2 3\n")
    with pytest.raises(InputError, match="has no columns to name"):
        prepare(log, tmp_path / "out", columns=Columns(user="user"))
    with pytest.raises(InputError, match="has no ratings for `min_rating`"):
        prepare(log, tmp_path / "out", preprocessing=Preprocessing(min_rating=3))
    with pytest.raises(InputError, match="`file_format` must be one of csv"):
        prepare(log, tmp_path / "out", file_format="xlsx")


@pytest.mark.parametrize(
    "folder",
    ["user_id=jdoe", "item_id=7", "c1=x", "raw=7", "a[1]", "b*c?", "d\\[1]", "e\\f?access_mode=x"],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet", "txt"])
def test_a_folder_of_any_name_changes_nothing(tmp_path, folder, suffix):
    """key=value was a column of DuckDB's, which replaced the file's own; a backslash beside a
    bracket is matched by no pattern; after ? come the options of DuckDB's own file.
    """
    place = tmp_path / folder
    place.mkdir()
    log = place / f"log{folder}.{suffix}"
    if suffix == "parquet":
        duckdb.connect().execute(
            "COPY (SELECT * FROM (VALUES (1, 1), (1, 2), (2, 1)) t(user_id, item_id))"
            f" TO '{tmp_path / 'log.parquet'}' (FORMAT parquet)"
        )
        (tmp_path / "log.parquet").rename(log)
    else:
        log.write_text("user_id,item_id\n1,1\n1,2\n2,1\n" if suffix == "csv" else "1 2\n1\n")
    assert raw_histories(prepare(log, place / "data")) == {"1": ["1", "2"], "2": ["1"]}
    assert {path.name for path in place.iterdir()} == {log.name, "data"}


@pytest.mark.parametrize("name", ["~x.csv", "http:x.csv", "s3:x.csv", "file:x.csv"])
def test_a_name_relative_to_the_folder_is_no_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("user,item\nx,a\n")
    assert raw_histories(prepare(name, "out")) == {"x": ["a"]}


@pytest.mark.parametrize("suffix", ["tsv", "inter"])
def test_a_quote_in_text_between_tabs_is_a_character_like_any_other(tmp_path, suffix):
    """A title that began with one swallowed all rows up to the next that ended with one."""
    log = tmp_path / f"log.{suffix}"
    typed = ":token" if suffix == "inter" else ""
    titles = ['"Heroes', "Low", 'The 7"', '"Weird Al" Yankovic']
    header = "\t".join(f"{name}{typed}" for name in ("user_id", "item_id", "title"))
    rows = [f"u1\tt{number}\t{title}" for number, title in enumerate(titles)]
    log.write_text("\n".join([header, *rows]) + "\n")
    data = prepare(log, tmp_path / "data")
    assert data.item_ids.to_raw(data.sequences[0]) == ["t0", "t1", "t2", "t3"]


def test_a_long_review_beside_the_ids_is_read_over(tmp_path):
    """Lines beyond 2 MB were refused, by an error that did not say why."""
    log = tmp_path / "log.csv"
    log.write_text("user,item,review\nx,a," + "z" * 3_000_000 + "\nx,b,\n")
    assert prepare(log, tmp_path / "data").statistics["actions"] == 2


def test_a_line_that_is_too_long_is_said_to_be(tmp_path):
    """The reason stood after 10,000 characters of the line."""
    log = tmp_path / "log.csv"
    log.write_text("user,item,review\nx,a,b\nx,b," + "z" * 34_000_000 + "\n")
    message = r"log.csv: row 3: 34,000,004 bytes long, where a row may have 33,554,432$"
    with pytest.raises(InputError, match=message):
        prepare(log, tmp_path / "out")


def test_rows_are_named_beyond_a_field_longer_than_csv_takes(tmp_path):
    """Python's csv stopped at 131,072 characters, with an error of its own."""
    log = tmp_path / "log.csv"
    log.write_text("user,item,review\nx,a," + "z" * 200_000 + "\nx,,\n")
    with pytest.raises(InputError, match=r"row 3: column 'item', the item, is empty"):
        prepare(log, tmp_path / "out")
    log.write_text("user,item," + "z" * 200_000 + "\nx,a,b\n")
    assert raw_histories(prepare(log, tmp_path / "out")) == {"x": ["a"]}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("log.csv", 'user;item\nx;a,1\ny;"b;2"\n', {"delimiter": ";"}),
        ("log.csv", "user|item\nx|a,1\ny|b;2\n", {"delimiter": "|"}),
        ("log.csv", "user||item\nx||a,1\ny||b;2\n", {"delimiter": "||"}),
        ("log.csv", "user,item\nx,'a,1'\ny,b;2\n", {"quote": "'"}),
        ("log.tsv", '"user"\t"item"\n"x"\t"a,1"\n"y"\t"b;2"\n', {"quote": '"'}),
        ("log.txt", "x\ta,1\ny\tb;2\n", {"delimiter": "\t", "file_format": "pairs"}),
        ("log.txt", "x'a,1\ny'b;2\n", {"delimiter": "'", "file_format": "pairs"}),
        ("log.data", "user:item\nx:a,1\ny:b;2\n", {"delimiter": ":", "file_format": "csv"}),
    ],
)
def test_delimiter_and_quote_may_be_other_ones(tmp_path, name, content, options):
    log = tmp_path / name
    log.write_text(content)
    assert raw_histories(prepare(log, tmp_path / "out", **options)) == {"x": ["a,1"], "y": ["b;2"]}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "log.csv",
            {"delimiter": ""},
            r"`delimiter` must be 1 to 4 characters, such as ';', got ''",
        ),
        ("log.csv", {"delimiter": "\n"}, r"`delimiter` must be"),
        ("log.csv", {"delimiter": "-----"}, r"`delimiter` must be"),
        ("log.csv", {"quote": "''"}, r"`quote` must be one character, .* got \"''\" and ','"),
        ("log.csv", {"quote": ","}, r"`quote` must be one character"),
        ("log.csv", {"quote": '"', "delimiter": "::"}, r"`quote` must be one character"),
        ("log.txt", {"delimiter": ";"}, r"log.txt: sequences has neither `delimiter` nor `quote`"),
    ],
)
def test_a_delimiter_that_cannot_be_one_is_refused(tmp_path, name, options, message):
    (tmp_path / name).write_text("user,item\nx,a\n")
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / name, tmp_path / "out", **options)


def test_a_delimiter_that_is_another_one_is_suspected_where_there_is_one_column(tmp_path):
    (tmp_path / "log.csv").write_text("user;item\nx;a\n")
    with pytest.raises(InputError, match=r"'user;item'; name it .* or give another `delimiter`, f"):
        prepare(tmp_path / "log.csv", tmp_path / "out")


def test_a_header_in_quotes_that_are_not_read_as_such_says_how(tmp_path):
    """R's write.table puts all text in quotes."""
    (tmp_path / "log.tsv").write_text('"user"\t"item"\n"x"\t"a"\n')
    with pytest.raises(InputError, match='they are in quotes: give `quote` " to take those off'):
        prepare(tmp_path / "log.tsv", tmp_path / "out")
