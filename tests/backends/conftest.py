"""What compiles for many minutes begins before the first test, behind all of them, as most leave a core idle, and is asked for last."""

import pytest

from .compilations import Compilations

COMPILATIONS = pytest.StashKey[Compilations]()


def _waits(item: pytest.Item) -> bool:
    return "compiled" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items):
    items.sort(key=_waits)


def pytest_collection_finish(session):
    if not session.config.option.collectonly:
        launches = [(item.callspec.params["target"], item.callspec.params["dtype"]) for item in session.items if _waits(item)]
        session.config.stash[COMPILATIONS] = Compilations(launches)


def pytest_sessionfinish(session):
    if compilations := session.config.stash.get(COMPILATIONS, None):
        compilations.stop()


@pytest.fixture
def compiled(request, target: str, dtype: str) -> list[dict]:
    """A description of every kernel, compiled for this target and dtype."""
    return request.config.stash[COMPILATIONS].of(target, dtype)
