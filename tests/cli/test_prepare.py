"""`b4r-fast prepare` as a user sees it."""

import gzip
import os
import subprocess
import sys
from signal import SIGTERM, Signals
from threading import Timer

import pytest

from b4r_fast.cli import main
from b4r_fast.data import DATASETS, PreparedData, preparation
from b4r_fast.signals import STOPPING

from ..heed_signals import heed_signals


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["prepare", *map(str, arguments)])
    output = capsys.readouterr()
    return ended.value.code or 0, output.out, output.err


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")


def test_the_statistics_are_printed_as_a_table(tmp_path, capsys, shared_data):
    code, out, _ = run(capsys, shared_data / "ml-100k.txt.gz", "--out", tmp_path / "out")
    assert code == 0
    for text in (
        "943",
        "1,682",
        "100,000",
        "106.0",
        "20 / 65 / 737",
        "6.30%",
        "users",
        "items",
        "actions",
        "average length",
        "density",
    ):
        assert text in out


def test_options_reach_the_preparation(tmp_path, capsys):
    log = tmp_path / "log.tsv"
    log.write_text(
        "".join(
            f"{line}\n"
            for line in (
                "x\ta\t5\t3",
                "x\tb\t1\t2",
                "x\ta\t4\t1",
                "y\ta\t5\t1",
                "y\tc\t5\t2",
                "z\tc\t5\t1",
            )
        )
    )
    columns = ["--user-column", 1, "--item-column", 2, "--rating-column", 3, "--time-column", 4]
    kept = [
        "--min-rating",
        2,
        "--min-user-actions",
        1,
        "--min-item-actions",
        2,
        "--deduplicate",
        "last",
    ]
    code, _, err = run(
        capsys,
        log,
        "--out",
        tmp_path / "out",
        "--no-header",
        *columns,
        *kept,
        "--memory-limit",
        "1GB",
    )
    assert code == 0
    data = PreparedData.open(tmp_path / "out")
    assert data.user_ids.raw.tolist() == ["x", "y", "z"]
    assert [data.item_ids.to_raw(data.sequences[user]) for user in range(3)] == [
        ["a"],
        ["a", "c"],
        ["c"],
    ]
    assert "3 of 3 users have fewer than 3 actions: they train, but are not held out" in err


def test_the_columns_that_were_read_are_named(tmp_path, capsys):
    """A name may mislead: of `date` and `time` the second alone was read, without a word."""
    log = tmp_path / "log.csv"
    log.write_text("who,item,date,time\nx,a,2024-05-31,10:00\n")
    _, _, err = run(capsys, log, "--out", tmp_path / "out", "--user-column", "who")
    assert "columns read: user from 'who', item from 'item', time from 'date time'\n" in err
    log.write_text("user,item\nx,a\n")
    _, _, err = run(capsys, log, "--out", tmp_path / "out")
    assert "columns read: user from 'user', item from 'item'; no time: the order is" in err


def test_ids_that_a_program_has_made_floats_are_pointed_out(tmp_path, capsys):
    """`recommend --user 1` did not find the user 1.0."""
    log = tmp_path / "log.csv"
    log.write_text("user,item\n1.0,1.0\n2.0,1.5\n")
    _, _, err = run(capsys, log, "--out", tmp_path / "out")
    assert "the user ids all end in .0" in err
    assert "the item ids" not in err


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (['"[1, 2]"', '"[3]"'], "the item ids look like lists"),
        (["1.0", "1", "x"], "some item ids stand there with .0 and without"),
        (["1.5", "1", "[x"], None),
    ],
)
def test_ids_that_may_not_be_meant_are_pointed_out(tmp_path, capsys, ids, said):
    log = tmp_path / "log.csv"
    log.write_text("user,item\n" + "".join(f"u,{item}\n" for item in ids))
    _, _, err = run(capsys, log, "--out", tmp_path / "out")
    assert said in err if said else "item ids" not in err


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="no /dev/stdin here")
@pytest.mark.parametrize("log", ["-", "/dev/stdin"])
def test_a_log_may_come_from_standard_input(tmp_path, log):
    options = ["--format", "csv", "--delimiter", r"\t", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "b4r_fast", "prepare", log, *options],
        input="user\titem\nx\ta,b\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    data = PreparedData.open(tmp_path / "out")
    assert data.item_ids.raw.tolist() == ["a,b"]
    assert data.statistics["source"] == "stdin"


def test_a_bad_row_is_one_line_on_standard_error_and_exit_code_2(tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("user,item\nx,a\nx\n")
    code, out, err = run(capsys, log, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert (
        err.strip().splitlines()[-1] == f"error: {log}: row 3: 1 fields, where the first row has 2"
    )
    assert "Traceback" not in err


def test_a_known_name_is_prepared_from_the_cache_even_where_a_folder_has_that_name(
    tmp_path, capsys, monkeypatch, shared_data
):
    with gzip.open(shared_data / "beauty.txt.gz", "rt") as file:
        pairs = "".join(
            f"{user} {item}\n" for user, line in enumerate(file, 1) for item in line.split()
        )
    (tmp_path / "cache" / "beauty").mkdir(parents=True)
    (tmp_path / "cache" / "beauty" / "beauty.txt").write_text(pairs)
    monkeypatch.setenv("B4R_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time the folder `beauty` is there
        code, out, _ = run(capsys, "beauty", "--out", "beauty")
        assert code == 0
        assert "353,962" in out


@pytest.mark.parametrize(
    "option",
    [
        ["--min-rating", "0"],
        ["--min-item-actions", "2"],
        ["--time-column", "x"],
        ["--format", "csv"],
        ["--no-header"],
        ["--delimiter", ";"],
        ["--quote", "'"],
    ],
)
def test_options_with_a_known_name_are_refused_rather_than_ignored(tmp_path, capsys, option):
    code, _, err = run(capsys, "ml-1m", "--out", tmp_path / "out", *option)
    assert code == 2
    assert "ml-1m is prepared as the papers do; give a file for other options" in err


def test_the_help_names_formats_data_sets_and_every_option(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    options = [
        "--out",
        "--format",
        "--user-column",
        "--item-column",
        "--time-column",
        "--rating-column",
        "--no-header",
        "--delimiter",
        "--quote",
        "--memory-limit",
    ]
    for text in (
        *DATASETS,
        *options,
        "--min-rating",
        "--min-user-actions",
        "--min-item-actions",
        "--deduplicate",
    ):
        assert text in out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes of a name here")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_while_a_log_is_read_leaves_no_half_of_a_folder(tmp_path, number):
    """Ctrl-C was a traceback, and the others left the folder's beginnings behind for ever."""
    pipe = tmp_path / "log.csv"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "b4r_fast", "prepare", pipe, "--out", tmp_path / "out"],
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
        text=True,
    )
    with open(pipe, "w") as writer:  # as soon as the log is being read
        writer.write("user,item\n")
        writer.flush()
        assert list(tmp_path.glob(".out.*.partial"))
        process.send_signal(number)
    _, error = process.communicate()
    name = Signals(number).name
    assert (process.returncode, error) == (
        128 + number,
        f"stopped by {name}; nothing is left half written\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.timeout(60, method="thread")  # a signal would not be heard either
def test_a_signal_ends_a_statement_of_duckdb_and_is_no_error_of_it(tmp_path, capsys, monkeypatch):
    """Python hears of it when the statement is done; DuckDB said "interrupted" of the log."""

    def count_for_ever(connection):
        Timer(0.1, os.kill, [os.getpid(), SIGTERM]).start()
        connection.execute("SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 0")

    monkeypatch.setattr(preparation, "_number", count_for_ever)
    (tmp_path / "log.csv").write_text("user,item\nx,a\n")
    code, _, error = run(capsys, tmp_path / "log.csv", "--out", tmp_path / "out")
    assert code == 128 + SIGTERM
    assert error.splitlines()[-1] == "stopped by SIGTERM; nothing is left half written"
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
