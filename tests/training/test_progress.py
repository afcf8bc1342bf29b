"""What a person sees on a terminal while a model trains."""

import os
import re
import signal
from io import StringIO

import pytest
from rich.console import Console

from ..training.small_runs import prepare_small_data, run_file

TASK = {"total": 400_000, "completed": 399_999, "loss": "12.345", "rate": "1,234,567"}
CURSOR_UP = "\x1b[1A\x1b[2K"


def terminal(width: int) -> Console:
    return Console(file=StringIO(), force_terminal=True, width=width, _environ={"TERM": "xterm"})


def frames(console: Console) -> list[str]:
    """The text of each, without what moves the cursor or colours."""
    return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", part) for part in written(console).split("\r")]


def written(console: Console) -> str:
    return console.file.getvalue()


@pytest.fixture
def bar_on():
    from b4r_fast.training.progress import OneLine

    bars = []

    def start(console: Console) -> OneLine:
        bars.append(OneLine(console))
        bars[-1].add_task("ranked 100%", **TASK)
        bars[-1].start()
        return bars[-1]

    yield start
    for bar in bars:
        bar.stop()


@pytest.mark.parametrize("width", [20, 27, 40, 48, 60, 80, 100, 200])
def test_the_bar_is_one_line_that_fits_and_nothing_of_it_is_cut(width, bar_on):
    """The total was cut at 80 columns."""
    console = terminal(width)
    bar_on(console).refresh()
    shown = frames(console)[-1].rstrip()
    assert len(shown) <= width - len("^C"), "the echo would break the line"
    assert "\n" not in shown
    assert "…" not in shown
    assert shown.startswith("ranked 100%")
    assert (width < 27) or "399999/400000" in shown
    assert (width < 80) or "1,234,567 tokens/s" in shown


def test_a_window_that_gets_narrower_leaves_no_part_of_the_bar_behind(bar_on):
    """The terminal breaks the line that stands there in two, and only the second was erased."""
    console = terminal(80)
    bar = bar_on(console)
    console.width = 40
    before = len(written(console))
    bar.refresh()
    assert written(console)[before:].count(CURSOR_UP) == 1
    before = len(written(console))
    bar.refresh()
    assert CURSOR_UP not in written(console)[before:]


def test_the_terminal_does_not_break_a_bar_that_is_wider_than_it_is_by_now(bar_on):
    console = terminal(80)
    bar_on(console).refresh()
    last = written(console).split("\r")[-1]
    assert last.index("\x1b[?7l") < last.index("399999") < last.index("\x1b[?7h")


@pytest.mark.parametrize("end", ["well", "stopped"])
def test_no_bar_stays_below_what_is_said_last(end, tmp_path, monkeypatch):
    """It stayed where a signal had ended the run: then there is no teardown."""
    from b4r_fast.training import train as training
    from b4r_fast.training.checkpoints import KeepBest

    console = terminal(80)

    file = run_file(prepare_small_data(tmp_path / "small"))
    before = type(signal.getsignal(signal.SIGINT))
    if end == "stopped":
        monkeypatch.setattr(KeepBest, "on_train_epoch_end", lambda *_: os.kill(os.getpid(), 15))
        with pytest.raises(training.Interrupted):
            training.train(tmp_path / "run", file, console=console)
    else:
        training.train(tmp_path / "run", file, console=console)
    assert type(signal.getsignal(signal.SIGINT)) is before, "it went on to be taken, not obeyed"
    assert "ranked 100%" in written(console)
    console.print("last words")
    assert frames(console)[-1].strip() == "last words"
    assert not console._render_hooks
