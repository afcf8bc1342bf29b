"""The folder of a run: what is in it, and when another run may take its place."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import InputError
from ..files import atomic_write
from ..model.config import CONFIG
from ..model.pretrained import WEIGHTS
from .lock import LOCK
from .origin import ITEMS
from .settings import RunFile

LAST, CURVES = "checkpoints/last.ckpt", "curves.png"
# All that a run writes, folders too; the last is left behind by a process that was killed outright.
WRITTEN = (
    RunFile.NAME,
    CONFIG,
    WEIGHTS,
    ITEMS,
    CURVES,
    LOCK,
    LAST,
    str(Path(LAST).parent),
    "logs",
    "logs/version_*",
    "logs/version_*/metrics.csv",
    "logs/version_*/hparams.yaml",
    "tensorboard",
    "tensorboard/events.out.tfevents.*",
    "tensorboard/hparams.yaml",
    "**/.*.partial",
)


def check_room(run: Path, overwrite: bool) -> None:
    """A folder that holds a run may be replaced when that is asked for; one that holds something
    else, alone or beside a run, is never touched.
    """
    if not run.exists():
        return
    if not run.is_dir() or _contents(run):
        if not (run / RunFile.NAME).is_file():
            raise InputError(
                f"{run}: exists and is not a run; it is left alone, choose another `out`"
            )
        if not overwrite:
            raise InputError(
                f"{run}: holds a run already; `resume` continues it, `overwrite` replaces it"
            )
        if others := _others(run):
            raise InputError(
                f"{run}: holds {others[0]} beside a run; it is left alone, move that away or choose"
                " another `out`"
            )


def _others(run: Path) -> list[Path]:
    """What no run has written, by its place in the folder."""
    written = {path for pattern in WRITTEN for path in run.glob(pattern)}
    return sorted(path.relative_to(run) for path in set(run.rglob("*")) - written)


def _contents(run: Path) -> list[Path]:
    return [path for path in run.iterdir() if path.name != LOCK]


def start_folder(run: Path, file: RunFile) -> None:
    """Called when data and settings are known to be good: only then does a run that is overwritten
    go. The folder stays, which is locked, and may be a link to another disk.
    """
    for path in _contents(run):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    write_run_file(run, file)


def write_run_file(run: Path, file: RunFile) -> None:
    with atomic_write(run / RunFile.NAME) as path:
        path.write_text(file.to_json())
