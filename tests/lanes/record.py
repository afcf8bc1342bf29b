"""What the lanes have proven, by what they depended on: tests/backends/proven.json.

The record of a lane has a fingerprint of its sources, its tests and the versions of its tools; how
many tests passed; and what they found out (registers, shared memory, spills, what saw a fault). A
reviewer reads its changes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TypedDict
from xml.etree import ElementTree

from b4r_fast.files import atomic_write

from .. import ROOT
from . import Lane

RECORD = ROOT / "tests" / "backends" / "proven.json"
DIGITS = 16


class Proof(TypedDict):
    """Of a lane. passed: tests by function. found: what a test has found out, by name."""

    fingerprint: str
    passed: dict[str, int]
    found: dict[str, dict[str, int | str]]


def _imports(file: Path) -> Iterator[Path]:
    """The files that it imports relatively or from tests/, at its top or in a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (
            node.level or (node.module or "").startswith("tests")
        ):
            continue
        base = (file.parents[node.level - 1] if node.level else ROOT).joinpath(
            *(node.module or "").split(".")
        )
        for module in (base, *(base / alias.name for alias in node.names)):
            yield from (
                path
                for path in (module.parent / f"{module.name}.py", module / "__init__.py")
                if path.is_file()
            )


def sources(lane: Lane) -> list[Path]:
    """All files that its outcome depends on."""
    tests = [ROOT / argument.partition("::")[0] for argument in lane.tests if ".py" in argument]
    unread = [ROOT / "tests" / "conftest.py", *tests, *(ROOT / file for file in lane.with_imports)]
    files = {
        *unread,
        *(path for pattern in lane.sources for path in ROOT.glob(pattern) if path.is_file()),
    }
    unread += [
        path for path in files if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")
    ]
    while unread:
        unread = list({path for file in unread for path in _imports(file)} - files)
        files.update(unread)
    return sorted(files)


def _version(tool: str) -> str:
    """Without what says how a package was built, as +cpu; "none" where there is no such tool."""
    if tool == "c++":
        command = [*shlex.split(os.environ.get("CXX", "c++")), "-dumpfullversion", "-dumpversion"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if tool == "nvcc":
        compiler = shutil.which(os.environ.get("CUDACXX", "nvcc"))
        text = (
            subprocess.run(
                [compiler, "--version"], capture_output=True, text=True, check=True
            ).stdout
            if compiler
            else ""
        )
        return (re.search(r"release ([\d.]+)", text) or ["", "none"])[1]
    try:
        return metadata.version(tool).partition("+")[0]
    except metadata.PackageNotFoundError:
        return "none"


def fingerprint(lane: Lane) -> str:
    digest = sha256(
        repr((lane.tests, lane.on, [(tool, _version(tool)) for tool in lane.tools])).encode()
    )
    for path in sources(lane):
        digest.update(f"\n{path.relative_to(ROOT)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:DIGITS]


@dataclass
class Outcome:
    """What pytest has said of a lane."""

    passed: dict[str, int] = field(default_factory=Counter)
    found: dict[str, dict[str, int | str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def read(cls, junit: Path) -> Outcome:
        outcome = cls()
        root = ElementTree.parse(junit).getroot()
        outcome.seconds = sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
        for case in root.iter("testcase"):
            name = f"{case.get('classname', '').removeprefix('tests.')}.{case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                outcome.failed.append(name)
            elif case.find("skipped") is not None:
                outcome.skipped.append(name)
            else:
                outcome.passed[name.partition("[")[0]] += 1
                for noted in case.iter("property"):
                    outcome.found |= (
                        json.loads(noted.get("value", "")) if noted.get("name") == "found" else {}
                    )
        return outcome

    @property
    def cases(self) -> int:
        return sum(self.passed.values()) + len(self.failed)

    def proof(self, fingerprint: str) -> Proof:
        return {
            "fingerprint": fingerprint,
            "passed": dict(sorted(self.passed.items())),
            "found": dict(sorted(self.found.items())),
        }


def differences(outcome: Outcome, proof: Proof, *, whole: bool) -> list[str]:
    """Where an outcome is not what the record says, a line each. whole: all tests ran, and not a
    tenth.
    """
    lines = []
    for name in sorted({*outcome.found, *(proof["found"] if whole else ())}):
        now, before = outcome.found.get(name, "nothing"), proof["found"].get(name, "nothing")
        if now != before:
            lines.append(f"{name}: {before} is recorded, {now} came out")
    for name in sorted({*outcome.passed, *(proof["passed"] if whole else ())}):
        passed, recorded = outcome.passed.get(name, 0), proof["passed"].get(name, 0)
        if passed > recorded or (whole and passed < recorded):
            lines.append(f"{name}: {recorded} tests are recorded, {passed} passed")
    return lines


def read(file: Path) -> dict[str, Proof]:
    return json.loads(file.read_text()) if file.exists() else {}


def write(proofs: dict[str, Proof], file: Path) -> None:
    """With a line for each thing found, so that a change of one is a changed line."""

    def lines(value, depth: int = 0) -> str:
        if depth == 3 or not isinstance(value, dict):
            return json.dumps(value)
        inside = (
            f"{'  ' * depth}  {json.dumps(key)}: {lines(inner, depth + 1)}"
            for key, inner in value.items()
        )
        return "{\n" + ",\n".join(inside) + f"\n{'  ' * depth}}}"

    with atomic_write(file) as partial:
        partial.write_text(lines(dict(sorted(proofs.items()))) + "\n")
