"""A file of histories says what a log of sequences with its bytes would say."""

import json

import pytest

from b4r_fast import InputError
from b4r_fast.data import prepare, read_histories

from .histories import raw_histories

ODD = ["x\u00a0y", "p\u2028q", "\u3000", "a\x1cb", "[dvd]", '"quoted"', "ü", "1,2"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_is_what_prepare_makes_of_it(tmp_path, encoding, end):
    """A byte-order mark was a part of the first id, and blanks of other alphabets split one."""
    lines = [" ".join(ODD), "", "a\t b ", " c"]
    content = (end.join(lines) + end).encode(encoding)
    (tmp_path / "log.txt").write_bytes(content)
    histories = read_histories(content, "log.txt")
    assert histories == [ODD, [], ["a", "b"], ["c"]]
    log = raw_histories(prepare(tmp_path / "log.txt", tmp_path / "out"))
    assert log == {str(line): ids for line, ids in enumerate(histories, 1) if ids}


@pytest.mark.parametrize(
    ("content", "histories"), [(b"", []), (b"\n", [[]]), (b"a\n\n", [["a"], []])]
)
def test_a_blank_line_is_a_user_of_whom_nothing_is_known(content, histories):
    assert read_histories(content, "file") == histories


def test_ids_that_hold_blanks_are_written_as_json():
    lists = [["Star Wars (1977)", "tab\there", "ü"], [], [42, "x"]]
    content = "\ufeff\n" + "\n".join(map(json.dumps, lists)) + "\n\n"
    expected = [[], lists[0], [], ["42", "x"], []]
    assert read_histories(content.encode(), "file") == expected


def test_a_line_is_only_json_where_the_first_is():
    assert read_histories(b"[dvd] 1\n[1]\n", "file") == [["[dvd]", "1"], ["[1]"]]


@pytest.mark.parametrize("line", ["a b", "{}", "[1.5]", "[null]", "[[1]]", "[true]", "[" * 100_000])
def test_a_line_that_is_no_list_of_ids_is_named(line):
    with pytest.raises(InputError, match=r"file: line 3: not a JSON list of ids, such as"):
        read_histories(f"[1]\n\n{line}\n".encode(), "file")


def test_a_file_that_is_no_text_is_named():
    with pytest.raises(InputError, match="file: not UTF-8 text"):
        read_histories(b"caf\xe9\n", "file")
