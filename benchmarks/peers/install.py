"""Make the environments of the peers that cannot share ours: python -m benchmarks.peers.install
[NAME ...].

Each peer with a file in requirements/ gets a virtual environment of its own below .venv-peers/. One
that cannot be installed is reported with its reason, and the others go on: the suite then runs
without it and says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
ENVIRONMENTS = Path(__file__).parents[2] / ".venv-peers"
COMPLETE = "installed.txt"  # written last; what was installed
TIMEOUT = 900  # seconds for one environment


def python_of(peer: str) -> Path | None:
    """The interpreter of a peer's environment; None where there is none, or not the whole of what
    is required.
    """
    folder = ENVIRONMENTS / peer
    complete, required = folder / COMPLETE, REQUIREMENTS / f"{peer}.txt"
    if complete.is_file() and complete.read_text() == required.read_text():
        return folder / "bin" / "python"
    return None


def install(peer: str) -> str | None:
    """Make one environment, unless it is there. Returns None, or one line that says why it could
    not be made.
    """
    if python_of(peer) is not None:
        return None
    requirements = (REQUIREMENTS / f"{peer}.txt").read_text()
    folder, installed = ENVIRONMENTS / peer, ENVIRONMENTS / peer / COMPLETE
    installed.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    try:
        done = subprocess.run(
            [*pip, "-r", str(REQUIREMENTS / f"{peer}.txt")],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        reason = (
            next(
                (line for line in done.stderr.splitlines() if line.startswith("ERROR")),
                "pip failed",
            )
            if done.returncode
            else None
        )
    except subprocess.TimeoutExpired:
        reason = f"pip was not done after {TIMEOUT} s"
    if reason:
        shutil.rmtree(folder, ignore_errors=True)
        return reason.removeprefix("ERROR: ")
    installed.write_text(requirements)
    return None


def main(peers: list[str]) -> int:
    known = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
    if unknown := set(peers) - set(known):
        print(
            f"error: no such peer: {', '.join(sorted(unknown))}; there are {', '.join(known)}",
            file=sys.stderr,
        )
        return 2
    for peer in peers or known:
        reason = install(peer)
        print(f"{peer}: {'not installed: ' + reason if reason else 'installed'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
