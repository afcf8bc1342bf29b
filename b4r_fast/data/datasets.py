"""Public data sets by name: where they come from, how the papers preprocess them, and the statistics that must come out."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files import atomic_write
from .preparation import Preprocessing, prepare
from .sequences import PreparedData

TIMEOUT = 20  # seconds without an answer


@dataclass(frozen=True)
class Dataset:
    """Where a data set comes from.

    file: its name in the cache. checksum: "md5:", "sha256:", or "git:" for git's own hash of the contents, then the digest; "" checks none.
    url: of the file; or package: the PyPI package that holds it. member: the log inside, where the file or package is an archive.
    published: statistics that must come out.
    """

    file: str
    checksum: str
    log_format: str
    published: dict[str, int]
    url: str | None = None
    member: str | None = None
    package: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


GROUPLENS = "https://files.grouplens.org/datasets/movielens"
BERT4REC = "https://raw.githubusercontent.com/FeiSun/BERT4Rec/master/data"

DATASETS = {
    "ml-100k": Dataset(
        file="ml-100k.inter",
        checksum="sha256:4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        package="recbole==1.2.1",
        member="recbole/dataset_example/ml-100k/ml-100k.inter",
        log_format="inter",
        published={"users": 943, "items": 1682, "actions": 100_000},
    ),
    # The papers count 3,416 items: those with 5 ratings at least.
    "ml-1m": Dataset(
        file="ml-1m.zip",
        checksum="md5:c4d9eecfca2ab87c1945afe126590906",
        url=f"{GROUPLENS}/ml-1m.zip",
        member="ml-1m/ratings.dat",
        log_format="dat",
        published={"users": 6040, "items": 3416, "actions": 999_611},
        preprocessing=Preprocessing(min_user_actions=5, min_item_actions=5),
    ),
    "ml-20m": Dataset(
        file="ml-20m.zip",
        checksum="md5:cd245b17a1ae2cc31bb14903e1204af3",
        url=f"{GROUPLENS}/ml-20m.zip",
        member="ml-20m/ratings.csv",
        log_format="csv",
        published={"users": 138_493, "items": 26_744, "actions": 20_000_263},
    ),
    "beauty": Dataset(
        file="beauty.txt",
        checksum="git:16718a33ebdb33504f257421b18ae8bf3ddfe327",
        url=f"{BERT4REC}/beauty.txt",
        log_format="pairs",
        published={"users": 40_226, "items": 54_542, "actions": 353_962},
    ),
    # No checksum of this file is known to us; its published numbers of users and items are checked.
    "steam": Dataset(
        file="steam.txt",
        checksum="",
        url=f"{BERT4REC}/steam.txt",
        log_format="pairs",
        published={"users": 281_428, "items": 13_044},
    ),
}


def cache_folder() -> Path:
    """Where fetched files are kept: B4R_FAST_CACHE, or b4r_fast in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("B4R_FAST_CACHE") or Path(base) / "b4r_fast")


def prepare_dataset(name: str, out: str | Path, *, progress: Callable[[str], None] = lambda step: None) -> PreparedData:
    """Prepare a data set by its name as the papers do, fetching it when the cache does not hold it.

    Raises InputError where the source cannot be reached, saying which file to put where; and for a file that is not the expected one.
    """
    dataset = DATASETS[name]
    path = cache_folder() / name / dataset.file
    if not path.is_file():
        progress(f"fetching {dataset.package or dataset.url}")
        _fetch_from_package(name, dataset, path) if dataset.package else _fetch(name, dataset, path)
    _check(path, dataset)

    def run(log: Path) -> PreparedData:
        return prepare(
            log,
            out,
            file_format=dataset.log_format,
            preprocessing=dataset.preprocessing,
            expected=dataset.published,
            progress=progress,
        )

    if path.suffix != ".zip":
        return run(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        return run(_extract(path, dataset.member or "", Path(scratch)))


def _by_hand(name: str, dataset: Dataset, path: Path, reason: str) -> InputError:
    source = f"{dataset.member} out of the PyPI package {dataset.package}" if dataset.package else dataset.url
    return InputError(f"{name}: cannot be fetched here ({reason}); get {source} elsewhere, put it at {path}, and run this again")


def _fetch(name: str, dataset: Dataset, path: Path) -> None:
    try:
        with urllib.request.urlopen(str(dataset.url), timeout=TIMEOUT) as source, atomic_write(path) as temporary:
            with open(temporary, "wb") as file:
                shutil.copyfileobj(source, file)
            _check(temporary, dataset)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _by_hand(name, dataset, path, str(getattr(error, "reason", error))) from None


def _fetch_from_package(name: str, dataset: Dataset, path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        options = ["-q", "--no-deps", "--disable-pip-version-check", "-d", scratch]
        command = [sys.executable, "-m", "pip", "download", *options, str(dataset.package)]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            reason = ([line for line in done.stderr.splitlines() if "ERROR" in line] or ["pip brought no wheel"])[-1]
            raise _by_hand(name, dataset, path, reason.removeprefix("ERROR: "))
        with atomic_write(path) as temporary:
            shutil.copyfile(_extract(wheels[0], dataset.member or "", Path(scratch)), temporary)
            _check(temporary, dataset)


def _extract(archive: Path, member: str, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as opened:
            return Path(opened.extract(member, folder))
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{archive}: {member} cannot be taken out of it: {error}") from None


def _check(path: Path, dataset: Dataset) -> None:
    kind, _, expected = dataset.checksum.partition(":")
    if not kind:
        return
    digest = hashlib.new("sha1" if kind == "git" else kind)
    if kind == "git":
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise InputError(f"{path}: its {kind} checksum is {digest.hexdigest()}, not {expected}; delete the file and fetch it again")
