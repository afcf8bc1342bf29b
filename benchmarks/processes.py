"""The other end of worker.py."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

from .peers.install import python_of

CHECKOUT = Path(__file__).resolve().parents[1]
TUNED = 4 << 30
MALLOC = {
    "default": {},
    "tuned": {"MALLOC_MMAP_THRESHOLD_": str(TUNED), "MALLOC_TRIM_THRESHOLD_": str(TUNED)},
}


class PeerFailed(RuntimeError):
    """The peer cannot be measured here; the message says why."""


class Worker:
    """A process of benchmarks.worker, in the environment of a peer or in ours; ends with the with
    block.

    device: where it measures. malloc: one of MALLOC's settings.
    """

    def __init__(
        self,
        *,
        threads: int,
        device: str = "cpu",
        environment: str | None = None,
        malloc: str = "default",
        timeout: float = 300,
    ) -> None:
        python = Path(sys.executable) if environment is None else python_of(environment)
        if python is None:
            raise PeerFailed(
                f"not installed; python -m benchmarks.peers.install {environment} does"
            )
        self.timeout = timeout
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self.process = subprocess.Popen(
            [str(python), "-m", "benchmarks.worker", str(threads), device],
            cwd=CHECKOUT,
            env={
                **os.environ,
                **MALLOC[malloc],
                "PYTHONPATH": str(CHECKOUT),
                "PYTHONWARNINGS": "ignore",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def ask(self, do: str, **arguments) -> dict:
        """Raises PeerFailed when the process cannot answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise PeerFailed(self._last_words()) from None
        if not select.select([self.process.stdout], [], [], self.timeout)[0]:
            self.close()
            raise PeerFailed(f"no answer within {self.timeout:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise PeerFailed(self._last_words())
        reply = json.loads(line)
        if "error" in reply:
            raise PeerFailed(reply["error"])
        return reply

    def _last_words(self) -> str:
        status = self.process.wait()
        if status < 0:
            return f"ended by signal {-status}" + (
                ", probably for want of memory" if status == -9 else ""
            )
        self.log.seek(0)
        return (
            self.log.read().decode(errors="replace").strip().splitlines()
            or ["it ended without a word"]
        )[-1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self.close()
