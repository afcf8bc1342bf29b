"""It imports the package in its fixtures alone: tests/conftest.py settles first what kernels run
on.
"""

import pytest


@pytest.fixture(scope="package")
def data(tmp_path_factory):
    from .small_runs import prepare_small_data

    return prepare_small_data(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="package")
def whole_run(tmp_path_factory, data):
    """A run that nothing interrupted."""
    from .small_runs import train_small

    run = tmp_path_factory.mktemp("whole") / "run"
    train_small(run, data)
    return run
