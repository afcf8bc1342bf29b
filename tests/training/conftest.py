import pytest

from .small_runs import prepare_small_data, train_small


@pytest.fixture(scope="package")
def data(tmp_path_factory):
    return prepare_small_data(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="package")
def whole_run(tmp_path_factory, data):
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train_small(run, data)
    return run
