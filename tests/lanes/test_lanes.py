"""That nothing changes unseen: what a lane's fingerprint covers, what a tenth is, and that a record
which no longer holds is told.
"""

import json
import re
from dataclasses import replace
from types import FunctionType, ModuleType

import pytest

from .. import ROOT
from . import LANES, __main__, record
from .record import Outcome
from .sample import tenth

LANE = next(iter(LANES.values()))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Where a kernel, a test that imports a helper, and conftest.py lie."""
    for name, text in {
        "b4r_fast/ops/attention.py": "kernel = 1\n",
        "b4r_fast/triton/__init__.py": "",
        "b4r_fast/triton/kernel.py": "from . import rows\nfrom torch import nn\n",
        "b4r_fast/triton/rows.py": "from ..ops.attention import kernel\n",
        "b4r_fast/triton/other.py": "from . import rows\n",
        "docs/attention.md": "words\n",
        "tests/__init__.py": "",
        "tests/conftest.py": "",
        "tests/ops/__init__.py": "",
        "tests/ops/accuracy.py": "limit = 1\n",
        "tests/ops/cases.py": "def cases():\n    from .accuracy import limit\n",
        "tests/backends/__init__.py": "",
        "tests/backends/test_kernels.py": "from ..ops import cases\n",
        "tests/backends/test_others.py": "",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    return tmp_path


OF_THE_CHECKOUT = replace(
    LANE,
    tests=("tests/backends/test_kernels.py", "-k", "a"),
    sources=("b4r_fast/ops/*.py",),
    tools=("torch",),
    with_imports=("b4r_fast/triton/kernel.py",),
)


@pytest.mark.parametrize(
    "file",
    [
        "b4r_fast/ops/attention.py",
        "b4r_fast/triton/kernel.py",
        "b4r_fast/triton/rows.py",
        "tests/backends/test_kernels.py",
        "tests/ops/cases.py",
        "tests/ops/accuracy.py",
        "tests/conftest.py",
    ],
)
def test_a_change_of_what_a_lane_runs_changes_its_fingerprint(checkout, file):
    before = record.fingerprint(OF_THE_CHECKOUT)
    with (checkout / file).open("a") as text:
        text.write("# a comment\n")
    assert record.fingerprint(OF_THE_CHECKOUT) != before


def test_a_new_kernel_and_another_version_of_a_tool_change_the_fingerprint(checkout, monkeypatch):
    before = record.fingerprint(OF_THE_CHECKOUT)
    (checkout / "b4r_fast/ops/dropout.py").write_text("")
    after = record.fingerprint(OF_THE_CHECKOUT)
    monkeypatch.setattr(record, "_version", lambda tool: "99")
    assert len({before, after, record.fingerprint(OF_THE_CHECKOUT)}) == 3


@pytest.mark.parametrize(
    "file", ["docs/attention.md", "tests/backends/test_others.py", "b4r_fast/triton/other.py"]
)
def test_a_change_of_anything_else_leaves_it(checkout, file):
    before = record.fingerprint(OF_THE_CHECKOUT)
    (checkout / file).write_text("other")
    assert record.fingerprint(OF_THE_CHECKOUT) == before


def test_every_kernel_is_in_a_lane_and_every_pattern_names_something():
    covered = {path for lane in LANES.values() for path in record.sources(lane)}
    kernels = [
        path
        for pattern in (
            "b4r_fast/backends/triton/*.py",
            "b4r_fast/backends/cuda/*.py",
            "csrc/cuda/*",
        )
        for path in ROOT.glob(pattern)
    ]
    assert covered.issuperset(kernels)
    assert all(any(ROOT.glob(pattern)) for lane in LANES.values() for pattern in lane.sources)


def kernels_of(function: FunctionType) -> set[str]:
    """The files of the Triton backend whose launch sites a function calls, through its own
    helpers too.
    """
    named = (function.__globals__.get(name) for name in function.__code__.co_names)
    files = set()
    for called in named:
        if isinstance(called, ModuleType) and called.__name__.startswith("b4r_fast.backends"):
            files.add(called.__file__)
        elif isinstance(called, FunctionType) and called.__module__ == function.__module__:
            files |= kernels_of(called)
    return files


def test_every_launch_is_compiled_by_one_lane_which_depends_on_its_kernels():
    tests = pytest.importorskip("tests.backends.test_triton_compiles")
    parts = {
        name: (lane.tests[-1].split(" or "), {str(path) for path in record.sources(lane)})
        for name, lane in LANES.items()
        if name.startswith("triton-compile-")
    }
    for launch in tests.LAUNCHES:
        (sources,) = (
            files for words, files in parts.values() if any(word in launch for word in words)
        )
        for key in {*launch.split(" and ")} & tests.PRODUCTS.keys():
            kernels = kernels_of(tests.PRODUCTS[key].launch)
            assert kernels, key
            assert kernels <= sources, key


def test_what_the_cuda_kernels_include_is_what_their_lanes_depend_on():
    covered = {*record.sources(LANES["cuda-fibers"])}
    for file in [*(ROOT / "csrc" / "cuda").iterdir(), ROOT / "csrc" / "bindings" / "cuda.cpp"]:
        assert covered.issuperset(
            ROOT / "csrc" / name for name in re.findall(r'#include "([^"]+)"', file.read_text())
        )


def test_every_test_marked_kernels_is_in_a_lane():
    files = {
        path for path in (ROOT / "tests").rglob("test_*.py") if "mark.kernels" in path.read_text()
    } - {ROOT / __file__}
    assert files == {ROOT / name for name in in_lanes()} & files


def in_lanes() -> set[str]:
    return {
        argument.partition("::")[0]
        for lane in LANES.values()
        for argument in lane.tests
        if ".py" in argument
    }


@pytest.mark.parametrize("count", [1, 3, 10, 17, 247])
def test_ten_commits_between_them_run_everything(count):
    cases = [f"test[{i}]" for i in range(count)]
    parts = [tenth(cases, f"{commit:x}") for commit in range(10)]
    assert set().union(*parts) == set(cases)
    assert all(1 <= len(part) <= count / 10 + 1 for part in parts)
    assert tenth(cases[::-1], "3") == parts[3]  # whatever order they were collected in
    assert tenth([], "3") == set()


PROOF = {
    "fingerprint": "f",
    "passed": {"test_a": 3},
    "found": {"rank on sm_80": {"registers": 100, "spills": 0}, "topk on sm_80": {"registers": 90}},
}


def outcome(passed=3, **found) -> Outcome:
    return Outcome(
        {"test_a": passed},
        {"rank on sm_80": {"registers": 100, "spills": 0}, "topk on sm_80": {"registers": 90}}
        | found,
    )


def test_what_comes_out_as_recorded_is_no_difference():
    assert record.differences(outcome(), PROOF, whole=True) == []
    assert (
        record.differences(
            Outcome({"test_a": 1}, {"topk on sm_80": {"registers": 90}}), PROOF, whole=False
        )
        == []
    )


def test_twelve_registers_more_a_new_kernel_and_a_test_that_is_gone_are_told():
    more = outcome(
        passed=2,
        **{"rank on sm_80": {"registers": 112, "spills": 0}, "topk on sm_90": {"registers": 90}},
    )
    assert record.differences(more, PROOF, whole=True) == [
        "rank on sm_80: {'registers': 100, 'spills': 0} is recorded, {'registers': 112,"
        " 'spills': 0} came out",
        "topk on sm_90: nothing is recorded, {'registers': 90} came out",
        "test_a: 3 tests are recorded, 2 passed",
    ]
    assert len(record.differences(more, PROOF, whole=False)) == 2
    assert record.differences(Outcome(), PROOF, whole=True)


REPORT = """<testsuites><testsuite time="1.5">
<testcase classname="tests.backends.test_x" name="test_a[1]">
<properties><property name="found" value='{"rank": {"registers": 7}}'/></properties></testcase>
<testcase classname="tests.backends.test_x" name="test_a[2]"/>
<testcase classname="tests.backends.test_x" name="test_a[3]"><failure message="no"/></testcase>
<testcase classname="tests.backends.test_x" name="test_b"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>"""


def test_an_outcome_is_read_from_pytests_report(tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    read = Outcome.read(tmp_path / "report.xml")
    assert read.passed == {"backends.test_x.test_a": 2}
    assert read.found == {"rank": {"registers": 7}}
    assert read.failed == ["backends.test_x.test_a[3]"]
    assert read.skipped == ["backends.test_x.test_b"]
    assert (read.cases, read.seconds) == (3, 1.5)


def test_a_record_comes_back_with_a_line_for_each_thing_found(tmp_path):
    record.write({"a lane": PROOF}, tmp_path / "proven.json")
    assert record.read(tmp_path / "proven.json") == {"a lane": PROOF}
    assert (
        '      "rank on sm_80": {"registers": 100, "spills": 0},\n'
        in (tmp_path / "proven.json").read_text()
    )
    assert record.read(tmp_path / "none.json") == {}


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """main of the lanes, without running any: lanes come out as in `outcomes`, and what was asked
    for is in `asked`.
    """

    class Runner:
        def __init__(self):
            self.outcomes, self.asked = {}, {}

        def run(self, lane, workers):
            return self.run_tenth(lane, None)

        def run_tenth(self, lane, commit):
            self.asked[lane.name] = commit
            return self.outcomes.get(lane.name, outcome())

        def main(self, *arguments):
            return __main__.main([LANE.name, *arguments])

    monkeypatch.setattr(record, "RECORD", tmp_path / "proven.json")
    monkeypatch.setattr(__main__, "BUILT", tmp_path / "lanes")
    monkeypatch.setattr(__main__, "why_not", lambda lane: None)
    runner = Runner()
    monkeypatch.setattr(__main__, "run", runner.run)
    monkeypatch.setattr(__main__, "run_tenth", runner.run_tenth)
    return runner


def test_what_was_proven_is_sampled_and_what_was_not_runs_whole(runner):
    assert runner.main() == 0
    assert runner.asked == {LANE.name: None}
    assert runner.main("--sample", "abc") == 0
    assert runner.asked == {LANE.name: "abc"}
    written = json.loads(record.RECORD.read_text())
    record.write(
        {LANE.name: written[LANE.name] | {"fingerprint": "of other sources"}}, record.RECORD
    )
    assert runner.main("--sample", "abc") == 0  # and comes out as recorded
    assert runner.asked == {LANE.name: None}


@pytest.mark.parametrize("recorded", [None, "of other sources", "these"])
def test_a_record_that_does_not_hold_fails_ci_and_stays_as_it_is(runner, recorded, capsys):
    if recorded is not None:
        print_of = record.fingerprint(LANE) if recorded == "these" else recorded
        record.write(
            {LANE.name: outcome(**{"rank on sm_80": {"registers": 88}}).proof(print_of)},
            record.RECORD,
        )
    before = record.read(record.RECORD)
    assert runner.main("--sample", "abc") == 1
    assert "rank on sm_80" in capsys.readouterr().out
    assert record.read(record.RECORD) == before


@pytest.mark.parametrize(
    "outcome", [Outcome(failed=["test_a"]), Outcome({"test_a": 2}, skipped=["test_b"]), Outcome()]
)
def test_a_lane_that_fails_or_skips_or_runs_nothing_is_not_recorded(runner, outcome):
    runner.outcomes[LANE.name] = outcome
    assert runner.main() == 1
    assert record.read(record.RECORD) == {}
    record.write({LANE.name: PROOF | {"fingerprint": record.fingerprint(LANE)}}, record.RECORD)
    assert runner.main("--sample", "abc") == 1


def test_a_lane_that_cannot_run_here_is_left_out_with_the_reason(runner, monkeypatch, capsys):
    monkeypatch.setattr(__main__, "why_not", lambda lane: "nvcc is missing")
    assert runner.main() == 0
    assert runner.main("--sample", "abc") == 1  # nothing has ever proven it
    assert "nvcc is missing" in capsys.readouterr().out


def test_a_tool_that_is_not_installed_has_a_fingerprint_of_its_own():
    """It was a traceback before the lane could be left out."""
    assert (
        len(
            {
                record.fingerprint(replace(LANE, tools=(tool,)))
                for tool in ("torch", "a-package-that-nobody-has")
            }
        )
        == 2
    )


def test_the_beginning_of_a_name_asks_for_all_that_begin_so():
    assert [lane.name for lane in __main__.chosen(["cuda-f", "stand-in"])] == [
        "cuda-fibers",
        "cuda-faults",
        "stand-in",
    ]
    assert __main__.chosen([]) == [*LANES.values()]


def test_an_unknown_lane_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["tritons"])
    assert "no lane is called tritons; there are triton-interpreter" in capsys.readouterr().err
