"""The wording that we read is that of the DuckDB which is installed; test_logs.py has what is said
of a log.
"""

import os
import subprocess
import sys

import duckdb
import pytest

from b4r_fast.data.duckdb_errors import disk_reason


def error_of(query: str) -> duckdb.Error:
    with pytest.raises(duckdb.Error) as caught:
        duckdb.connect().execute(query)
    return caught.value


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_recognised():
    assert (
        disk_reason(error_of("COPY (SELECT 1 AS a) TO '/dev/full' (FORMAT csv)"))
        == "No space left on device"
    )


TOO_LARGE = """
import resource, sys, duckdb
from b4r_fast.data.duckdb_errors import disk_reason
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    duckdb.connect(sys.argv[1]).execute("CREATE TABLE t AS SELECT 1")
except duckdb.Error as error:
    print(disk_reason(error))
"""


def test_any_other_write_that_fails_is_recognised_and_names_the_file(tmp_path):
    file = tmp_path / "log.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", TOO_LARGE, file], capture_output=True, text=True, check=True
    )
    assert "Could not write" in done.stdout, done
    assert str(file) in done.stdout


def test_an_error_about_something_else_is_none_of_the_disk_s():
    assert disk_reason(error_of("SELECT absent")) is None
