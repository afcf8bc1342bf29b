"""Public data sets by name: where they come from, how the papers preprocess them, and the
statistics that must come out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .preparation import MEMORY_LIMIT, Preprocessing, prepare
from .sequences import PreparedData


@dataclass(frozen=True)
class Dataset:
    """Where a data set comes from.

    file: its name in the cache. url: of the file; or package: the PyPI package that holds it.
    member: the log inside, where the file or package is an archive. sha256: of the file, None where
    it is not known. published: statistics that must come out.
    """

    file: str
    log_format: str
    published: dict[str, int]
    sha256: str | None = None
    url: str | None = None
    package: str | None = None
    member: str = ""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    @property
    def source(self) -> str:
        return (
            f"{self.member} out of the PyPI package {self.package}"
            if self.package
            else str(self.url)
        )


GROUPLENS = "https://files.grouplens.org/datasets/movielens"
BERT4REC = "https://raw.githubusercontent.com/FeiSun/BERT4Rec/master/data"

DATASETS = {
    "ml-100k": Dataset(
        file="ml-100k.inter",
        sha256="4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        package="recbole==1.2.1",
        member="recbole/dataset_example/ml-100k/ml-100k.inter",
        log_format="inter",
        published={"users": 943, "items": 1682, "actions": 100_000},
    ),
    # The papers count 3,416 items: those with 5 ratings at least.
    "ml-1m": Dataset(
        file="ml-1m.zip",
        sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        url=f"{GROUPLENS}/ml-1m.zip",
        member="ml-1m/ratings.dat",
        log_format="dat",
        published={"users": 6040, "items": 3416, "actions": 999_611},
        preprocessing=Preprocessing(min_user_actions=5, min_item_actions=5),
    ),
    "ml-20m": Dataset(
        file="ml-20m.zip",
        sha256="96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
        url=f"{GROUPLENS}/ml-20m.zip",
        member="ml-20m/ratings.csv",
        log_format="csv",
        published={"users": 138_493, "items": 26_744, "actions": 20_000_263},
    ),
    # This and Steam are the authors' own files, preprocessed by them.
    "beauty": Dataset(
        file="beauty.txt",
        sha256="f480b7a7403852342ffd8f9809bb30697dd669be31813d0e204b698fec86ef49",
        url=f"{BERT4REC}/beauty.txt",
        log_format="pairs",
        published={"users": 40_226, "items": 54_542, "actions": 353_962},
    ),
    "steam": Dataset(
        file="steam.txt",
        url=f"{BERT4REC}/steam.txt",
        log_format="pairs",
        published={"users": 281_428, "items": 13_044, "actions": 3_488_885},
    ),
}


def cache_folder() -> Path:
    """Where fetched files are kept: B4R_FAST_CACHE, or b4r_fast in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("B4R_FAST_CACHE") or Path(base) / "b4r_fast")


def prepare_dataset(
    name: str,
    out: str | Path,
    *,
    memory_limit: str = MEMORY_LIMIT,
    progress: Callable[[str], None] = lambda step: None,
) -> PreparedData:
    """Prepare a data set by its name as the papers do, fetching it when the cache does not hold it.

    Raises InputError where the source cannot be reached, saying which file to put where; and for a
    file that is not the expected one.
    """
    from .download import extract, fetch, sha256  # imports what speaks to the net

    dataset = DATASETS[name]
    path = cache_folder() / name / dataset.file
    if not path.is_file():
        progress(f"fetching {dataset.package or dataset.url}")
        fetch(name, dataset, path)
    elif (digest := sha256(path)) != (dataset.sha256 or digest):
        raise InputError(
            f"{path}: its sha256 is {digest}, where {dataset.sha256} is published; delete it, or"
            f" put {dataset.source} there"
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        return prepare(
            extract(path, dataset.member, Path(scratch)) if path.suffix == ".zip" else path,
            out,
            file_format=dataset.log_format,
            preprocessing=dataset.preprocessing,
            expected=dataset.published,
            memory_limit=memory_limit,
            progress=progress,
        )
