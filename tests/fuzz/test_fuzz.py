"""A few of the mutations, the same ones every time; `python -m tests.fuzz` makes more."""

import os
import subprocess
import sys

import pytest

from .. import ROOT


# In a process of its own, which forks and is to have no threads.
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each mutation runs in a fork")
@pytest.mark.skipif(sys.platform == "darwin", reason="which there is not safe beside frameworks")
def test_a_damaged_file_ends_a_command_well_or_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--mutations", "12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
