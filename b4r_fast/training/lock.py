"""One process at a time trains into a run folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK = "training.lock"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder, which is made where it is absent. Raises InputError that names who holds
    it already.

    The system lets go of it when the process ends, however it ends: no stale lock is left behind.
    """
    if run.is_symlink() and not run.exists():
        raise InputError(f"{run}: is a link to {run.readlink()}, which is not there")
    run.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    with open(run / LOCK, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{run}: is being trained by {file.read().strip() or 'another process'}; wait for"
                " it, stop it, or choose another `out`"
            ) from None
        except OSError:
            pass  # a file system without locks
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
