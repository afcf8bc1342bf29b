"""compile_triton.py for several targets and dtypes, in processes that leave the cores to whatever else wants them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / "build" / "triton"  # what has not changed is not compiled again


class Compilations:
    """Begins with (target, dtype) each of these."""

    def __init__(self, launches: Iterable[tuple[str, str]]) -> None:
        self._processes: list[subprocess.Popen] = []
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._rows = {launch: self._pool.submit(self._compile, *launch) for launch in launches}

    def of(self, target: str, dtype: str) -> list[dict]:
        """What compile_triton prints of it, as soon as it has ended."""
        return self._rows[target, dtype].result()

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()

    def _compile(self, target: str, dtype: str) -> list[dict]:
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(CACHE)}
        command = [sys.executable, "-m", "tests.backends.compile_triton", target, dtype]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._processes.append(process)
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        return [json.loads(line) for line in out.splitlines()]
