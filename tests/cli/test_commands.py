"""The commands as a user types them: what they print, and how they fail."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from typer.main import get_command

import b4r_fast
from b4r_fast.cli import in_options, main
from b4r_fast.cli.app import app
from b4r_fast.data import prepare
from b4r_fast.evaluation import PROTOCOLS
from b4r_fast.model import BERT4Rec
from b4r_fast.training import RunFile

from ..training.small_runs import prepare_small_data, train_small

COMMANDS = ("prepare", "train", "evaluate", "recommend", "convert", "export")
SMALL = [
    "--hidden-size",
    "8",
    "--num-heads",
    "2",
    "--num-layers",
    "1",
    "--max-length",
    "20",
    "--batch-size",
    "8",
    "--threads",
    "1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_small_data(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    run = tmp_path_factory.mktemp("trained") / "run"
    train_small(run, data)
    return run


@pytest.fixture
def call(capsys, monkeypatch):
    """Run a command; its exit code, output and error output."""
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("B4R_FAST_DEBUG", raising=False)

    def run_command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        return exit_.value.code or 0, *capsys.readouterr()

    return run_command


def assert_one_error_line(result, *words):
    code, output, error = result
    assert code == 2
    assert output == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for word in words:
        assert str(word) in error


def test_help_names_the_commands_and_shows_how_they_follow_each_other(call):
    code, output, _ = call("--help")
    assert code == 0
    assert "b4r-fast recommend" in output
    assert all(command in output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, call):
    code, output, _ = call(command, "--help")
    assert code == 0
    assert f"b4r-fast {command}" in output or "Usage" in output


def test_a_paragraph_of_the_help_is_broken_by_the_terminal_alone():
    """It had the line breaks of the source's docstrings too, and half of its lines were short."""
    texts = [command.help for command in get_command(app).commands.values()]
    assert len(texts) == len(COMMANDS)
    assert not any(re.search(r"[^\n]\n[^\n]", text) for text in texts)


def test_prepare_prints_a_path_with_brackets_as_it_is(call, tmp_path):
    """[v2] was markup to the terminal's library, and left out."""
    log, out = tmp_path / "log.csv", tmp_path / "sweep[v2]" / "data"
    log.write_text("user,item\na,1\na,2\nb,1\n")
    code, output, _ = call("prepare", log, "--out", out)
    assert code == 0
    assert "sweep[v2]/data" in "".join(output.split())


@pytest.mark.parametrize(
    ("message", "spelled"),
    [
        # An option may have another name than the parameter.
        ("`min_rating` 3 and `file_format`", "--min-rating 3 and --format"),
        ("`prepare` makes one, `k` must", "`b4r-fast prepare` makes one, -k must"),
        ("a `word` of no command, `pip install x`", "a `word` of no command, `pip install x`"),
        ("the user's `k`; the users' `seed`, `out`", "the user's -k; the users' --seed, --out"),
        ("unknown item 'the `k`': give `k`", "unknown item 'the `k`': give -k"),
        ("""is "it's `k` \\" `k`": `k`""", """is "it's `k` \\" `k`": -k"""),
        ("/a/`k`/b `k`.csv: give `k`", "/a/`k`/b `k`.csv: give -k"),
        ("`out`: no such file", "`out`: no such file"),
    ],
)
def test_parameters_that_an_error_names_are_spelled_as_options_and_no_more(message, spelled):
    """Ids and paths that hold backticks were spelled so too."""
    assert in_options(message) == spelled


def test_an_error_changes_no_name_that_a_person_wrote(call, tmp_path):
    """Two blanks became one, and what a terminal obeys went to it."""
    log = tmp_path / "two  blanks\tof\x1b[31m `prepare`.csv"
    assert_one_error_line(
        call("prepare", log, "--out", tmp_path / "out"),
        r"two  blanks\tof\x1b[31m `prepare`.csv: no such file",
    )


def test_the_library_names_no_options():
    """Nor commands, wherever a message is put together; a text that begins with an option is an
    argument of another program.
    """
    package = Path(b4r_fast.__file__).parent
    for file in (file for file in package.rglob("*.py") if file.parent.name != "cli"):
        texts = (
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant)
        )
        for text in (text for text in texts if isinstance(text, str)):
            assert not re.search(r"\W--([a-z]|$)|`b4r-fast ", text), (file, text)


def test_version_is_that_of_the_package(call):
    assert call("--version")[:2] == (0, f"b4r-fast {b4r_fast.__version__}\n")


def test_python_m_b4r_fast_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "b4r_fast", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"b4r-fast {b4r_fast.__version__}\n"


def without(*modules):
    """Python code that makes these modules absent."""
    return f"import sys\nfor name in {modules!r}: sys.modules[name] = None\n"


def test_the_package_imports_without_the_extras():
    code = (
        without("lightning", "duckdb", "rich", "typer", "matplotlib", "tensorboard", "torchmetrics")
        + "import b4r_fast, b4r_fast.cli"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_is_named_with_what_installs_it():
    code = without("typer") + "from b4r_fast.cli import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "typer is not installed" in done.stderr
    assert 'pip install "b4r-fast[train]"' in done.stderr
    assert "Traceback" not in done.stderr


AS_THE_COMMAND = """
import sys
sys.argv[0] = "b4r-fast"
from b4r_fast.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("train", "--help"),
        ("--version",),
        ("evaluate", "run", "--protocl", "full"),
        ("evaluate", "run", "--protocol", "pop1000"),
        ("train", "data", "--out", "run", "--lr", "nan"),
        ("recommend", "run"),
    ],
)
def test_help_and_what_is_wrong_with_arguments_do_not_wait_for_torch(arguments, tmp_path):
    """They took 1.7 s."""
    done = subprocess.run(
        [sys.executable, "-c", AS_THE_COMMAND, *arguments], capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if {"--help", "--version"} & set(arguments) else 2)


# What is imported meets a Ctrl-C, and may make another error of it, as code in C does.
INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "b4r_fast." + sys.argv[1]:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raise eval(sys.argv[2])("initialization failed")
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the background
sys.argv[0] = "b4r-fast"
from b4r_fast.cli import main
main(sys.argv[3:])
"""


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ImportError"])
@pytest.mark.parametrize("module", ["cli.app", "serving"])
def test_ctrl_c_while_imports_run_is_one_line(module, error, run):
    command = ["recommend", str(run), "--user", "u1"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module, error, *command], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr == "stopped by SIGINT; nothing is left half written\n"


@pytest.mark.parametrize("variable", ["B4R_FAST_BACKEND", "B4R_FAST_ISA"])
def test_a_variable_that_asks_for_what_is_not_here_is_named_in_one_line(variable, run):
    done = subprocess.run(
        [sys.executable, "-m", "b4r_fast", "evaluate", str(run)],
        capture_output=True,
        text=True,
        env=os.environ | {variable: "foo"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {variable}=foo: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "sizes",
    [
        ("--hidden-size", "10000000"),
        ("--num-layers", "1024", "--hidden-size", "8192"),
        ("--max-length", "1000000000"),
        ("--num-negatives", "2000000000", "--loss", "sampled"),
    ],
)
def test_a_model_that_fits_into_no_memory_is_refused_and_not_killed(sizes, call, data, tmp_path):
    result = call("train", data, "--out", tmp_path / "run", *sizes, "--threads", "1")
    assert_one_error_line(result, "GiB", "smaller --hidden-size")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
)
def test_memory_that_ends_later_is_one_line_too(error, call, run, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("b4r_fast.model.BERT4Rec.from_pretrained", fail)
    assert_one_error_line(call("evaluate", run), "not enough memory", "--batch-size")


def test_options_override_the_preset_and_are_kept_in_run_json(call, data, tmp_path):
    code, _, error = call(
        "train",
        data,
        "--out",
        tmp_path / "run",
        *SMALL,
        "--epochs",
        "1",
        "--lr",
        "0.003",
        "--patience",
        "0",
        "--include-seen",
    )
    assert code == 0, error
    settings = RunFile.read(tmp_path / "run").settings
    assert settings.exclude_seen is False
    assert (settings.learning_rate, settings.epochs, settings.hidden_size, settings.patience) == (
        0.003,
        1,
        8,
        None,
    )
    assert "b4r-fast evaluate" in error


def test_what_a_preset_has_is_left_out_by_name(call, data, tmp_path):
    options = ["--preset", "best-ml-1m", "--max-minutes", "0.01", "--init-items", "random"]
    code, _, error = call("train", data, "--out", tmp_path / "run", *SMALL, *options)
    assert code == 0, error
    assert RunFile.read(tmp_path / "run").settings.init_items is None


@pytest.mark.parametrize("preset", ["auto", "best-ml-1m"])
def test_with_other_windows_goes_what_is_of_the_preset_s(preset, call, data, tmp_path):
    options = ["--preset", preset, "--windows", "strided", "--max-tokens", "64", "--epochs", "1"]
    small = [*SMALL[: SMALL.index("--batch-size")], "--threads", "1"]
    code, _, error = call("train", data, "--out", tmp_path / "run", *small, *options)
    assert code == 0, error
    settings = RunFile.read(tmp_path / "run").settings
    assert (settings.windows, settings.last_items, settings.mask_prob_to) == ("strided", 0, None)
    assert (settings.batch_size, settings.max_tokens) == (None, 64)


def test_settings_are_checked_before_data_is_fetched(call, tmp_path):
    for wrong in (["--batch-size", "0"], ["--resume", "--lr", "0.1"]):
        code, _, error = call("train", "ml-20m", "--out", tmp_path / "run", *wrong)
        assert (code, "ml-20m" in error) == (2, False), error


def test_every_variant_of_the_model_has_an_option(call, data, tmp_path):
    variant = {
        "norm": "pre",
        "final_norm": True,
        "embedding_norm": False,
        "projection_head": False,
        "positions_from": "end",
        "tie_embeddings": False,
        "output_bias": False,
        "activation": "gelu_tanh",
        "intermediate_size": 24,
    }
    options = []
    for name, value in variant.items():
        option = name.replace("_", "-")
        options += [f"--{'' if value else 'no-'}{option}", *([] if value in (0, 1) else [value])]
    code, _, error = call(
        "train", data, "--out", tmp_path / "run", *SMALL, "--epochs", "1", *options
    )
    assert code == 0, error
    config = BERT4Rec.from_pretrained(tmp_path / "run").config
    assert {name: getattr(config, name) for name in variant} == variant


def test_evaluation_prints_the_model_beside_popularity(call, run):
    code, output, _ = call("evaluate", run)
    assert code == 0
    for word in ("BERT4Rec", "popularity", "HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"):
        assert word in output


def test_evaluation_as_json_reads_back(call, run):
    code, output, _ = call("evaluate", run, "--stage", "validation", "--json")
    content = json.loads(output)
    assert code == 0
    assert content["stage"] == "validation"
    assert content["users"] == 40
    assert content["results"]["BERT4Rec"]["NDCG@10"] >= content["results"]["BERT4Rec"]["NDCG@5"]


def test_evaluation_beside_another_run_says_who_leads_and_whether_by_chance(call, run):
    code, output, _ = call("evaluate", run, "--compare", run)
    assert code == 0
    assert "our lead" in output
    assert "by chance" in output
    code, output, _ = call("evaluate", run, "--compare", run, "--json")
    content = json.loads(output)
    assert code == 0
    assert content["spread"]["HR@10"]["low"] < content["results"]["BERT4Rec"]["HR@10"]
    assert content["lead"]["HR@10"] == {"low": 0.0, "high": 0.0, "p": 1.0}


def test_a_run_in_a_folder_called_popularity_is_compared(call, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "popularity")
    code, output, _ = call("evaluate", run, "--compare", "popularity", "--json")
    assert code == 0
    assert [*json.loads(output)["results"]] == ["BERT4Rec", "popularity", "./popularity"]


def test_a_run_of_other_items_is_not_compared(call, run, tmp_path):
    (tmp_path / "log.txt").write_text("a b c d e\nb c d e a\nc d a b e\n")
    train_small(tmp_path / "run", prepare(tmp_path / "log.txt", tmp_path / "data").folder)
    assert_one_error_line(
        call("evaluate", run, "--compare", tmp_path / "run"), "none of the 5 items"
    )


@pytest.fixture(scope="module")
def repeating_run(tmp_path_factory):
    """Everybody's last item is one that they had before."""
    folder = tmp_path_factory.mktemp("repeating")
    lines = (f"i{user % 7} i{user % 5} j{user} i{user % 7} i{user % 5}\n" for user in range(40))
    (folder / "log.txt").write_text("".join(lines))
    train_small(folder / "run", prepare(folder / "log.txt", folder / "data").folder)
    return folder / "run"


def test_evaluate_finds_repeats_only_where_recommend_gives_them(call, repeating_run):
    """A held-out item of the history was found by the one and never given by the other."""
    code, output, error = call("evaluate", repeating_run)
    assert code == 0
    assert "40 of the 40 items are in the user's history" in error
    assert "--include-seen" in error
    for options, found in (([], False), (["--include-seen"], True)):
        _, output, error = call("evaluate", repeating_run, *options, "--json")
        results = json.loads(output)["results"]["BERT4Rec"]
        assert (results["HR@10"] > 0) == found
        assert error == ""
        _, output, _ = call(
            "recommend", repeating_run, "--user", "1", "-k", "46", *options, "--json"
        )
        assert ("i0" in json.loads(output)["items"]) == found


def test_recommendations_as_json_are_one_object_a_line(call, run, tmp_path):
    (tmp_path / "histories.txt").write_text("i1 i2 i3\n\ni4\n")
    code, output, _ = call(
        "recommend", run, "--history", tmp_path / "histories.txt", "-k", "2", "--json"
    )
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [len(line["items"]) for line in lines] == [2, 2, 2]
    assert not {"i1", "i2", "i3"} & set(lines[0]["items"])


def test_a_history_comes_from_standard_input(call, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"i1 i2\n")))
    code, output, _ = call("recommend", run, "--history", "-", "--json")
    assert code == 0
    assert len(json.loads(output)["items"]) == 10


def test_histories_and_candidates_may_be_json(call, run, tmp_path):
    (tmp_path / "histories.jsonl").write_text('["i1", "i2"]\n')
    (tmp_path / "candidates.jsonl").write_text('["i7", "i2"]\n["i9"]\n')
    files = "--history", tmp_path / "histories.jsonl", "--candidates", tmp_path / "candidates.jsonl"
    code, output, _ = call("recommend", run, *files, "--json")
    assert code == 0
    assert sorted(json.loads(output)["items"]) == ["i7", "i9"]


def test_a_user_of_the_training_data_gets_a_table(call, run):
    code, output, _ = call("recommend", run, "--user", "u3", "-k", "3")
    assert code == 0
    assert "u3" in output


def test_a_user_of_data_that_has_moved_gets_a_table(call, run, data, tmp_path):
    shutil.copytree(data, tmp_path / "moved")
    code, output, _ = call("recommend", run, "--user", "u3", "--data", tmp_path / "moved")
    assert code == 0
    assert "u3" in output
    assert_one_error_line(
        call("recommend", run, "--history", "x.txt", "--data", tmp_path / "moved"), "--user"
    )


def test_unknown_items_of_a_history_are_a_warning_and_no_error(call, run, tmp_path):
    (tmp_path / "histories.txt").write_text("i1 newcomer\n")
    code, output, error = call("recommend", run, "--history", tmp_path / "histories.txt", "--json")
    assert code == 0
    assert json.loads(output)["items"]
    assert "newcomer" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "{empty}"),
        ("recommend", "{empty}", "--user", "u1"),
        ("train", "{empty}", "--out", "{new}"),
        ("train", "{data}", "--out", "{new}", "--resume"),
        ("evaluate", "{run}", "--data", "{empty}"),
    ],
)
def test_a_folder_that_is_not_what_it_should_be_is_named(arguments, call, data, run, tmp_path):
    folders = {"empty": tmp_path / "empty", "new": tmp_path / "new", "data": data, "run": run}
    folders["empty"].mkdir()
    named = folders["new"] if "--resume" in arguments else folders["empty"]
    assert_one_error_line(call(*(argument.format(**folders) for argument in arguments)), named)
    assert not folders["new"].exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("recommend", "{run}", "--user", "nobody"), ["nobody"]),
        (("recommend", "{run}"), ["--history", "--user"]),
        (("recommend", "{run}", "--history", "{run}/absent.txt"), ["absent.txt"]),
        (("recommend", "{run}", "--user", "u1", "-k", "0"), ["-k", "at least 1"]),
        (("evaluate", "{run}", "--protocol", "pop1000"), ["--protocol", *PROTOCOLS]),
        (("evaluate", "{run}", "--protocol", "pop100"), ["too small"]),
        (("evaluate", "{run}", "--protocol", "uni100", "--seed", "-1"), ["--seed", "at least 0"]),
        (("train", "{data}", "--out", "{run}2", "--threads", "100000"), ["--threads", "1024"]),
        (("train", "{data}", "--out", "{run}2", "--seed", str(2**70)), ["--seed", str(2**64)]),
        (
            ("evaluate", "{run}", "--protocol", "pop100", "--include-seen"),
            ["--include-seen", "full"],
        ),
        (("evaluate", "{run}", "--stage", "tset"), ["--stage", "test or validation"]),
        (("train", "{data}", "--out", "{run}"), ["--resume", "--overwrite"]),
        (
            ("train", "{data}", "--out", "{run}2", "--preset", "paper-ml-2m"),
            ["--preset", "paper-ml-1m"],
        ),
        (
            ("train", "{data}", "--out", "{run}2", "--max-tokens", "64"),
            ["--max-tokens", "--windows strided", "these are drawn"],
        ),
        (
            ("train", "{data}", "--out", "{run}2", "--windows", "strided", "--last-items", "4"),
            ["--last-items", "--windows drawn", "these are strided"],
        ),
        (("train", "{data}", "--out", "{run}2", "--mask-prob", "1.5"), ["--mask-prob", "1.5"]),
        (("train", "{data}", "--out", "{run}2", "--num-heads", "3"), ["num_heads", "multiple"]),
        (
            ("train", "{data}", "--out", "{run}", "--resume", "--lr", "0.1"),
            ["--learning-rate", "run.json"],
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(arguments, words, call, data, run):
    assert_one_error_line(
        call(*(argument.format(data=data, run=run) for argument in arguments)), *words
    )


def test_an_error_has_a_path_with_two_spaces_as_it_is(call, tmp_path):
    assert_one_error_line(call("evaluate", tmp_path / "two  spaces"), "two  spaces")


def test_an_id_that_the_terminal_cannot_show_is_no_traceback(data, tmp_path):
    (tmp_path / "log.txt").write_text("\n".join(3 * ["é a b"]) + "\n")
    for command in (
        ["prepare", tmp_path / "log.txt", "--out", tmp_path / "é"],
        ["train", tmp_path / "é", "--out", tmp_path / "run", *SMALL, "--epochs", "1"],
        ["recommend", tmp_path / "run", "--user", "1", "--include-seen"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "b4r_fast", *command],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "200"},
        )
        assert done.returncode == 0, done.stderr
    assert r"\xe9" in done.stdout


def test_an_unknown_option_exits_with_2_and_no_traceback(call, run):
    code, _, error = call("evaluate", run, "--protocl", "full")
    assert code == 2
    assert "--protocl" in error
    assert "Traceback" not in error


def test_debug_shows_the_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("B4R_FAST_DEBUG", "1")
    with pytest.raises(b4r_fast.InputError):
        main(["evaluate", str(tmp_path)])


def test_data_whose_items_are_numbered_otherwise_gives_the_same_figures(call, run, data, tmp_path):
    """It has as many items as the model, so figures came out, all of them wrong."""
    header, *rows = (data.parent / "log.tsv").read_text().splitlines()
    (tmp_path / "log.tsv").write_text("\n".join([header, *rows[::-1]]) + "\n")
    assert call("prepare", tmp_path / "log.tsv", "--out", tmp_path / "other")[0] == 0
    found = [
        json.loads(call("evaluate", run, "--json", *options)[1])["results"]["BERT4Rec"]
        for options in ([], ["--data", tmp_path / "other"])
    ]
    assert found[0] == pytest.approx(found[1])


def test_training_that_diverges_ends_with_one_line_of_advice_and_exit_code_1(call, data, tmp_path):
    code, output, error = call(
        "train", data, "--out", tmp_path / "run", *SMALL, "--lr", "1e38", "--warmup-steps", "0"
    )
    assert (code, output, error.count("\n")) == (1, "", 1), error
    assert error.startswith("error: training diverged: ")
    assert "lower --learning-rate" in error


def test_ids_are_printed_as_they_are_in_the_log(call, tmp_path):
    """[dvd] vanished, :book: became an emoji, and [/x] was a traceback."""
    odd = ["[dvd]alien", "urn:book:7", "[/end]of"]
    lines = [" ".join([*odd, "a", "b"][shift:] + odd[:shift]) for shift in (0, 1, 2, 1, 0)]
    (tmp_path / "log.txt").write_text("\n".join(lines) + "\n")
    assert call("prepare", tmp_path / "log.txt", "--out", tmp_path / "data")[0] == 0
    run = tmp_path / "run [v2]"
    code, _, error = call("train", tmp_path / "data", "--out", run, *SMALL, "--epochs", "1")
    assert code == 0, error
    assert f"curves.png are in {run};" in error
    assert f"evaluate '{run}'" in error
    (tmp_path / "histories.txt").write_text("a [/b] :smile:\n")
    arguments = "recommend", run, "--history", tmp_path / "histories.txt", "--include-seen"
    code, output, error = call(*arguments)
    assert code == 0
    assert all(item in output for item in odd)
    assert "unknown items left out: :smile:, [/b]" in error


FULL_DISK = """
import resource, signal, sys
from b4r_fast.training import train  # what is imported later may not be written to a cache
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from b4r_fast.cli import in_options, main
main(sys.argv[2:])
"""


# Bytes a file may have: too few for the map of items, and for a checkpoint.
@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_a_disk_that_is_full_ends_training_with_one_line(limit, data, tmp_path):
    command = [
        "train",
        str(data),
        "--out",
        str(tmp_path / "run"),
        *SMALL,
        "--epochs",
        "2",
        "--checkpoint-every",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(limit), *command],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: cannot write")], (
        done.stderr
    )
    assert "curves.png" not in done.stderr, "the picture is refused too, and is not the reason"
    assert not list((tmp_path / "run").rglob("*.partial"))
