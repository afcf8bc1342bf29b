"""A log is read from wherever it comes, in whatever Unicode it is written."""

import gzip
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from b4r_fast import InputError
from b4r_fast.data import prepare

from .histories import raw_histories

CONTENT = "user,item\nx,café\ny,p\u2028q\n"
HISTORIES = {"x": ["café"], "y": ["p\u2028q"]}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_byte_order_mark_says_which_unicode_it_is(tmp_path, encoding, packed):
    """UTF-16, which Excel and PowerShell write, was an error full of zero bytes."""
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    content = (mark + CONTENT).encode(encoding)
    log = tmp_path / ("log.csv.gz" if packed else "log.csv")
    log.write_bytes(gzip.compress(content) if packed else content)
    assert raw_histories(prepare(log, tmp_path / "out")) == HISTORIES


def test_sequences_may_be_in_utf_16(tmp_path):
    (tmp_path / "log.txt").write_bytes("a b c\r\nd\r\n".encode("utf-16"))
    data = prepare(tmp_path / "log.txt", tmp_path / "out")
    assert raw_histories(data) == {"1": ["a", "b", "c"], "2": ["d"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT.encode("utf-16-le"), r"log.csv: row 1: no text, or UTF-16 without the byte-order"),
        (CONTENT.encode("utf-16")[:-1], r"log.csv: not UTF-16 text, which its first bytes say"),
        (b"\xff\xfe", r"log.csv: no row of data"),
    ],
)
def test_what_only_seems_to_be_utf_16_is_one_line(tmp_path, content, message):
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "log.csv", tmp_path / "out")
    assert str(caught.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes of a name here")
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_pipe_is_read_once_and_kept(tmp_path, packed):
    """It was no file; DuckDB and the reader of the header would each have taken a part of it."""
    content = ("user,item\n" + "x,a\n" * 50_000).encode()
    pipe = tmp_path / ("pipe.csv.gz" if packed else "pipe.csv")
    os.mkfifo(pipe)
    content = gzip.compress(content) if packed else content
    with ThreadPoolExecutor(1) as writer:
        writer.submit(pipe.write_bytes, content)
        data = prepare(pipe, tmp_path / "out")
    assert data.statistics["source"] == pipe.name
    assert data.statistics["actions"] == 50_000


def test_a_device_that_holds_nothing_is_empty(tmp_path):
    with pytest.raises(InputError, match="/dev/null: the file is empty"):
        prepare(os.devnull, tmp_path / "out", file_format="csv")
