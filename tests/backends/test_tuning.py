"""B4R_FAST_AUTOTUNE=1: whatever tile is tried, an op gives the same; the fastest stays; nothing is
timed twice.
"""

import os
import subprocess
import sys

import pytest
import torch

from b4r_fast import use_backend
from b4r_fast.backends import _find, backends

if not backends()["triton"].startswith("available") or torch.cuda.is_available():
    pytest.skip(
        "for Triton's interpreter: compiled, every tile would take seconds", allow_module_level=True
    )

from triton.errors import TritonError

from b4r_fast.backends import triton as backend
from b4r_fast.backends.triton import tiles, tuning
from b4r_fast.backends.triton.tiles import Form, Tile

from ..ops.accuracy import results
from ..ops.shaped import SHAPED, Sizes

TUNED_OPS = [
    "joint_attention",
    "attention",
    "gelu_ffn",
    "residual_ffn_layer_norm",
    "residual_linear_layer_norm",
    "linear",
    "softmax_loss",
]
FORM, TABLE = Form("softmax_loss forward", 32, torch.float32, True), Tile(64, 32, 4)


@pytest.fixture(autouse=True)
def _nothing_tuned(monkeypatch):
    monkeypatch.setattr(tuning, "TUNED", {})
    monkeypatch.setattr(tiles, "TUNED", tuning.TUNED)


def pretend(monkeypatch, milliseconds):
    """Times that depend on the tile alone."""
    monkeypatch.setattr(tuning, "milliseconds", lambda call: milliseconds(tuning.TUNED[FORM]))


def test_it_goes_to_the_fastest_tile_and_says_so(monkeypatch, capsys):
    pretend(
        monkeypatch,
        lambda tile: (
            abs(tile.rows - 256) + abs(tile.columns - 16) + tile.warps + tile.all_registers
        ),
    )
    tuning.tune(FORM, TABLE, lambda: None)
    assert tuning.TUNED[FORM] == Tile(256, 16, 2)
    assert (
        "softmax_loss forward, 32 columns of torch.float32: Tile(rows=256, columns=16, warps=2"
        in capsys.readouterr().err
    )


def test_the_table_stays_where_nothing_is_faster(monkeypatch):
    pretend(monkeypatch, lambda tile: 1.0)
    tuning.tune(FORM, TABLE, lambda: None)
    assert tuning.TUNED[FORM] == TABLE


def test_what_does_not_fit_is_left_out(monkeypatch):
    def milliseconds(tile):
        if tile.rows > 64:
            raise TritonError("out of resource: shared memory")
        return 1000 - tile.rows * tile.columns

    pretend(monkeypatch, milliseconds)
    tuning.tune(FORM, TABLE, lambda: None)
    assert (tuning.TUNED[FORM].rows, tuning.TUNED[FORM].columns) == (64, 128)


def test_a_tile_is_tuned_at_the_first_call_alone(monkeypatch):
    tried = []
    monkeypatch.setattr(
        tuning,
        "tune",
        lambda form, tile, call: tuning.TUNED.update({form: tile}) or tried.append(form.kernel),
    )
    operator = tuning.tuned(backend.softmax_loss.softmax_loss)
    for n in (5, 9):
        operator(torch.randn(n, 16), torch.randn(30, 16), None, torch.arange(n))
    assert tried == ["softmax_loss forward"]


@pytest.mark.kernels
@pytest.mark.parametrize("name", TUNED_OPS)
def test_every_tile_on_the_way_gives_what_the_tables_gives(name, monkeypatch):
    call, shapes = SHAPED[name](Sizes(lengths=(21, 5), head_size=16, items=40, dropout_p=0.2))
    tensors = [torch.randn(shape) for shape in shapes]
    expected: dict = {}

    def milliseconds(run):
        ours = run()
        torch.testing.assert_close(ours, expected.setdefault(run, ours), rtol=1e-4, atol=1e-5)
        tile = list(tuning.TUNED.values())[-1]
        return tile.rows + 1000 / (tile.columns or 1) + tile.warps

    monkeypatch.setattr(tuning, "milliseconds", milliseconds)
    with use_backend("triton"), monkeypatch.context() as patch:
        plain = results(call, torch.float32, tensors)
        for operator, function in backend.OPERATORS.items():
            patch.setitem(backend.OPERATORS, operator, tuning.tuned(function))
        _find.cache_clear()
        tuned = results(call, torch.float32, tensors)
    _find.cache_clear()
    torch.testing.assert_close(tuned, plain, rtol=1e-4, atol=1e-5)
    assert {tile.rows for tile in tuning.TUNED.values()} == {16}


def test_the_environment_asks_for_it():
    for asked in ("0", "1"):
        environment = os.environ | {"B4R_FAST_AUTOTUNE": asked, "TRITON_INTERPRET": "1"}
        command = (
            "from b4r_fast.backends import triton as t; print(t.OPERATORS['topk'].__wrapped__ is"
            " not t.topk.topk)"
        )
        done = subprocess.run(
            [sys.executable, "-c", command],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [str(asked == "1")]
