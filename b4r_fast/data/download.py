"""Fetching a public data set, over the net or out of a package."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import atomic_write

if TYPE_CHECKING:
    from .datasets import Dataset

TIMEOUT = 20  # seconds without an answer
NETWORK_ERRORS = (
    urllib.error.URLError,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
    http.client.HTTPException,
)


def fetch(name: str, dataset: Dataset, path: Path) -> None:
    """Bring the file into the cache, where only what is whole and has the right
    checksum arrives.
    """
    with atomic_write(path) as temporary:
        try:
            if dataset.package:
                _download_from_package(dataset.package, dataset.member, temporary)
            else:
                _download(str(dataset.url), temporary)
            if dataset.sha256 and (digest := sha256(temporary)) != dataset.sha256:
                raise ConnectionError(
                    f"what came has the sha256 {digest}, where {dataset.sha256} is published"
                )
        except NETWORK_ERRORS as error:
            reason = getattr(error, "reason", None) or str(error)
            raise InputError(
                f"{name}: cannot be fetched here ({reason}); get {dataset.source} elsewhere, put"
                f" it at {path}, and run this again"
            ) from None


def _download(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as source, open(path, "wb") as file:
        shutil.copyfileobj(source, file)
        expected = source.headers.get("Content-Length")
        if expected is not None and file.tell() != int(expected):
            raise ConnectionError(
                f"the connection closed after {file.tell():,} of {int(expected):,} bytes"
            )


def _download_from_package(package: str, member: str, path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        options = [
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
            "--retries=1",
            f"--timeout={TIMEOUT}",
            "--dest",
            scratch,
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, package],
            capture_output=True,
            text=True,
        )
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            said = done.stderr.strip().splitlines() or ["pip brought no wheel"]
            raise ConnectionError(
                next((line for line in said if line.startswith("ERROR")), said[-1]).removeprefix(
                    "ERROR: "
                )
            )
        shutil.copyfile(extract(wheels[0], member, Path(scratch)), path)


def extract(archive: Path, member: str, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as opened:
            return Path(opened.extract(member, folder))
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{archive}: {member} cannot be taken out of it: {error}") from None


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
