"""The blocks that were screened to be without spills, by GPU, dtype, kernel and columns: docs/gpu.md says how. tiles.py looks them up."""

from __future__ import annotations

from typing import NamedTuple

from .target import all_registers


class Tile(NamedTuple):
    """Rows and columns of a block of products (logits, scores, hidden activations), and how many warps share it.

    columns: 0 where a block has all there are. all_registers: a thread may have all that there are for one, where ptxas else spills some
    to fit another program beside it.
    """

    rows: int
    columns: int
    warps: int
    all_registers: bool = False

    @property
    def options(self) -> dict[str, int]:
        """For a launch."""
        return {"num_warps": self.warps} | (all_registers(self.warps) if self.all_registers else {})


# Unaligned is what has a size that 16 does not divide: addresses and masks of single numbers take registers. What stands there comes first.
TABLE = {
    "NVIDIA": {
        "half": {
            "attention forward": {32: Tile(128, 64, 8), 64: Tile(128, 64, 8, True), 128: Tile(128, 32, 8)},
            "attention whole": {32: Tile(64, 16, 4), 64: Tile(32, 32, 8, True), 128: Tile(64, 16, 8)},
            "attention tiled": {32: Tile(128, 64, 8), 64: Tile(64, 32, 4), 128: Tile(32, 64, 8)},
            "gelu_ffn forward": {32: Tile(128, 64, 4), 64: Tile(128, 64, 8), 128: Tile(128, 32, 8)},
            "gelu_ffn dx": {32: Tile(128, 64, 8, True), 64: Tile(128, 64, 8), 128: Tile(64, 64, 8)},
            "gelu_ffn weights": {32: Tile(128, 64, 8), 64: Tile(128, 32, 8), 128: Tile(128, 32, 8)},
            "linear backward": {64: Tile(128, 0, 8), 128: Tile(128, 0, 8), 256: Tile(64, 0, 8, True)},
            "layer_norm of product, forward": {64: Tile(128, 0, 4), 128: Tile(128, 0, 8)},
            "layer_norm of product, backward": {64: Tile(128, 0, 8)},
            "residual_ffn forward": {32: Tile(128, 64, 4), 64: Tile(128, 64, 8, True), 128: Tile(128, 32, 8)},
            "residual_ffn dx": {32: Tile(128, 64, 8), 64: Tile(128, 64, 8), 128: Tile(64, 32, 8)},
            "softmax_loss forward": {64: Tile(128, 64, 8), 128: Tile(128, 64, 8), 256: Tile(64, 64, 8)},
            "softmax_loss backward": {64: Tile(128, 32, 4), 128: Tile(128, 32, 4), 256: Tile(128, 16, 8)},
            "rank": {64: Tile(64, 64, 4), 128: Tile(64, 64, 4), 256: Tile(64, 64, 4)},
            "topk": {64: Tile(16, 128, 8, True), 128: Tile(16, 128, 8), 256: Tile(16, 128, 8)},
        },
        "half, unaligned": {
            "attention forward": {32: Tile(128, 64, 8), 64: Tile(128, 32, 8), 128: Tile(64, 32, 8)},
            "attention whole": {32: Tile(64, 16, 8, True), 64: Tile(32, 32, 8)},
            "attention tiled": {32: Tile(128, 32, 8), 64: Tile(128, 16, 8), 128: Tile(32, 32, 8)},
            "gelu_ffn forward": {32: Tile(128, 64, 8), 64: Tile(128, 64, 8), 128: Tile(64, 64, 8)},
            "gelu_ffn dx": {32: Tile(128, 64, 8, True), 64: Tile(128, 32, 8), 128: Tile(64, 32, 8)},
            "gelu_ffn weights": {32: Tile(128, 32, 8), 64: Tile(128, 32, 8), 128: Tile(32, 32, 8)},
            "linear backward": {64: Tile(64, 0, 8), 128: Tile(16, 0, 8)},
            "layer_norm of product, forward": {64: Tile(128, 0, 8), 128: Tile(32, 0, 8)},
            "layer_norm of product, backward": {64: Tile(16, 0, 8)},
            "residual_ffn forward": {32: Tile(128, 64, 8, True), 64: Tile(128, 64, 8), 128: Tile(64, 32, 8)},
            "residual_ffn dx": {32: Tile(128, 64, 8, True), 64: Tile(64, 32, 8), 128: Tile(32, 64, 8)},
            "softmax_loss forward": {64: Tile(64, 64, 8), 128: Tile(64, 64, 8), 256: Tile(32, 64, 8)},
            "softmax_loss backward": {64: Tile(128, 32, 8, True), 128: Tile(32, 64, 8), 256: Tile(32, 32, 8)},
            "rank": {64: Tile(64, 64, 4), 128: Tile(64, 64, 4), 256: Tile(64, 64, 8)},
            "topk": {64: Tile(16, 128, 8), 128: Tile(16, 64, 4), 256: Tile(16, 128, 8, True)},
        },
        "single": {
            "attention forward": {32: Tile(128, 64, 8, True), 64: Tile(128, 16, 8, True), 128: Tile(64, 32, 8, True)},
            "attention whole": {32: Tile(64, 16, 8, True), 64: Tile(64, 32, 8, True), 128: Tile(32, 16, 8, True)},
            "attention tiled": {32: Tile(64, 64, 8), 64: Tile(64, 16, 8), 128: Tile(16, 16, 8)},
            "gelu_ffn forward": {32: Tile(128, 32, 8), 64: Tile(128, 16, 8), 128: Tile(32, 64, 8)},
            "gelu_ffn dx": {32: Tile(64, 64, 8), 64: Tile(64, 32, 8), 128: Tile(64, 16, 8)},
            "gelu_ffn weights": {32: Tile(128, 32, 8), 64: Tile(64, 16, 8), 128: Tile(16, 16, 4)},
            "linear backward": {64: Tile(32, 0, 8, True), 128: Tile(16, 0, 16)},
            "layer_norm of product, forward": {64: Tile(64, 0, 8)},
            "layer_norm of product, backward": {64: Tile(32, 0, 8), 128: Tile(16, 0, 8)},
            "residual_ffn forward": {32: Tile(128, 32, 8), 64: Tile(64, 32, 8), 128: Tile(64, 16, 8)},
            "residual_ffn dx": {32: Tile(128, 16, 8, True), 64: Tile(32, 64, 8), 128: Tile(32, 16, 8, True)},
            "softmax_loss forward": {64: Tile(32, 64, 8, True), 128: Tile(32, 64, 8), 256: Tile(16, 16, 8)},
            "softmax_loss backward": {64: Tile(128, 16, 8, True), 128: Tile(32, 16, 8), 256: Tile(16, 32, 8)},
            "rank": {64: Tile(32, 32, 4), 128: Tile(32, 32, 4), 256: Tile(32, 32, 4, True)},
            "topk": {64: Tile(16, 64, 8, True), 128: Tile(16, 32, 8, True), 256: Tile(16, 32, 8, True)},
        },
        "single, unaligned": {
            "attention forward": {32: Tile(128, 16, 8), 64: Tile(128, 16, 8), 128: Tile(32, 32, 8)},
            "attention whole": {32: Tile(32, 16, 8, True)},
            "attention tiled": {32: Tile(64, 16, 8), 64: Tile(16, 16, 8, True)},
            "gelu_ffn forward": {32: Tile(128, 16, 8), 64: Tile(128, 16, 8), 128: Tile(64, 16, 8)},
            "gelu_ffn dx": {32: Tile(128, 16, 8), 64: Tile(128, 16, 8), 128: Tile(64, 16, 8)},
            "gelu_ffn weights": {32: Tile(64, 32, 8), 64: Tile(32, 32, 8), 128: Tile(32, 16, 8)},
            "linear backward": {64: Tile(32, 0, 8)},
            "layer_norm of product, forward": {64: Tile(64, 0, 16)},
            "layer_norm of product, backward": {64: Tile(32, 0, 8, True)},
            "residual_ffn forward": {32: Tile(128, 16, 8), 64: Tile(64, 32, 8), 128: Tile(16, 64, 8)},
            "residual_ffn dx": {32: Tile(64, 16, 8), 64: Tile(32, 64, 8), 128: Tile(16, 64, 8)},
            "softmax_loss forward": {64: Tile(128, 16, 8), 128: Tile(16, 64, 4), 256: Tile(32, 16, 8)},
            "softmax_loss backward": {64: Tile(32, 32, 8), 128: Tile(64, 16, 4), 256: Tile(64, 16, 8)},
            "rank": {64: Tile(32, 32, 4), 128: Tile(32, 32, 8), 256: Tile(32, 32, 4)},
            "topk": {64: Tile(16, 32, 4, True), 128: Tile(16, 64, 8), 256: Tile(16, 32, 8, True)},
        },
    },
    # What H100 and B200 have otherwise: they have more shared memory.
    "H100": {
        "half": {
            "attention whole": {32: Tile(64, 32, 4), 64: Tile(64, 16, 8, True), 128: Tile(64, 16, 8)},
        },
        "half, unaligned": {
            "attention whole": {32: Tile(64, 32, 8, True), 64: Tile(64, 16, 8)},
        },
    },
    # GPUs for graphics, of architectures 8.6, 8.9 and 12: they have less, 99 KiB a program.
    "RTX": {
        "half": {
            "attention whole": {32: Tile(64, 16, 4, True), 64: Tile(32, 32, 8), 128: Tile(64, 16, 8)},
            "gelu_ffn forward": {32: Tile(128, 64, 8), 64: Tile(128, 64, 8), 128: Tile(128, 32, 8)},
            "gelu_ffn dx": {32: Tile(128, 64, 8), 64: Tile(128, 32, 8), 128: Tile(64, 64, 8)},
            "gelu_ffn weights": {32: Tile(128, 64, 8), 64: Tile(128, 32, 8), 128: Tile(64, 32, 8)},
            "linear backward": {64: Tile(128, 0, 8, True), 128: Tile(128, 0, 8), 256: Tile(64, 0, 8)},
            "layer_norm of product, backward": {32: Tile(128, 0, 4), 64: Tile(64, 0, 8)},
            "residual_ffn forward": {32: Tile(128, 64, 8), 64: Tile(128, 64, 8), 128: Tile(64, 64, 8, True)},
            "residual_ffn dx": {32: Tile(128, 64, 8), 64: Tile(128, 32, 8), 128: Tile(64, 64, 8)},
            "softmax_loss forward": {64: Tile(128, 64, 8), 128: Tile(128, 64, 8), 256: Tile(64, 32, 8)},
            "softmax_loss backward": {64: Tile(128, 64, 8), 128: Tile(128, 64, 4), 256: Tile(128, 32, 8)},
            "topk": {64: Tile(16, 128, 8), 128: Tile(16, 128, 8), 256: Tile(16, 64, 4, True)},
        },
        "half, unaligned": {
            "attention whole": {32: Tile(64, 16, 4, True), 64: Tile(32, 32, 8), 128: Tile(16, 16, 8, True)},
            "attention tiled": {32: Tile(64, 64, 8), 64: Tile(128, 32, 8), 128: Tile(64, 16, 8)},
            "gelu_ffn forward": {32: Tile(128, 64, 8, True), 64: Tile(128, 32, 8), 128: Tile(64, 64, 8)},
            "gelu_ffn dx": {32: Tile(128, 64, 8, True), 64: Tile(128, 16, 8), 128: Tile(64, 64, 8)},
            "layer_norm of product, backward": {32: Tile(128, 0, 8), 64: Tile(32, 0, 8)},
            "linear backward": {64: Tile(64, 0, 8), 128: Tile(32, 0, 8, True)},
            "residual_ffn forward": {32: Tile(128, 64, 8), 64: Tile(128, 32, 8), 128: Tile(64, 32, 8)},
            "residual_ffn dx": {32: Tile(128, 32, 8), 64: Tile(64, 32, 8), 128: Tile(32, 64, 8)},
            "softmax_loss forward": {64: Tile(128, 64, 8), 128: Tile(64, 64, 8), 256: Tile(64, 32, 8)},
            "softmax_loss backward": {64: Tile(128, 32, 8, True), 128: Tile(64, 32, 8), 256: Tile(32, 32, 8)},
            "topk": {64: Tile(16, 128, 8, True), 128: Tile(16, 64, 4), 256: Tile(16, 128, 8)},
        },
        "single": {
            "attention forward": {32: Tile(128, 64, 8), 64: Tile(128, 32, 16), 128: Tile(64, 16, 8)},
            "attention whole": {32: Tile(64, 32, 8, True), 64: Tile(64, 16, 8), 128: Tile(32, 16, 8, True)},
            "attention tiled": {32: Tile(64, 64, 8), 64: Tile(32, 32, 8, True), 128: Tile(16, 16, 8)},
            "gelu_ffn forward": {32: Tile(128, 32, 8), 64: Tile(128, 16, 8), 128: Tile(64, 16, 8)},
            "gelu_ffn dx": {32: Tile(64, 64, 8), 64: Tile(64, 32, 8), 128: Tile(32, 16, 8)},
            "gelu_ffn weights": {32: Tile(64, 32, 8), 64: Tile(64, 16, 8), 128: Tile(16, 16, 4)},
            "layer_norm of product, backward": {32: Tile(128, 0, 8, True), 64: Tile(32, 0, 8), 128: Tile(16, 0, 16)},
            "residual_ffn dx": {32: Tile(128, 32, 8), 64: Tile(128, 16, 16, True), 128: Tile(32, 16, 8, True)},
            "softmax_loss backward": {64: Tile(64, 64, 16, True), 128: Tile(32, 32, 8), 256: Tile(32, 32, 16, True)},
            "topk": {64: Tile(16, 64, 4, True), 128: Tile(16, 64, 8), 256: Tile(16, 32, 8)},
        },
        "single, unaligned": {
            "gelu_ffn dx": {32: Tile(128, 32, 16), 64: Tile(128, 16, 8), 128: Tile(32, 16, 4)},
            "residual_ffn forward": {32: Tile(128, 16, 8), 64: Tile(64, 32, 8), 128: Tile(32, 16, 8)},
            "residual_ffn dx": {32: Tile(128, 32, 16), 64: Tile(32, 64, 8), 128: Tile(16, 32, 8)},
            "softmax_loss backward": {64: Tile(32, 32, 8), 128: Tile(16, 32, 8, True), 256: Tile(32, 16, 8)},
        },
    },
    "AMD": {
        "half": {
            "attention forward": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 64, 4)},
            "attention whole": {32: Tile(64, 32, 4), 64: Tile(64, 32, 4), 128: Tile(64, 32, 4)},
            "attention tiled": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 32, 4)},
            "gelu_ffn forward": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 64, 4)},
            "gelu_ffn dx": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 32, 4)},
            "gelu_ffn weights": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 32, 4)},
            "linear backward": {64: Tile(128, 0, 4), 128: Tile(128, 0, 4), 256: Tile(64, 0, 4)},
            "layer_norm of product, forward": {32: Tile(128, 0, 4), 64: Tile(128, 0, 4), 128: Tile(128, 0, 4)},
            "layer_norm of product, backward": {32: Tile(128, 0, 4), 64: Tile(128, 0, 4), 128: Tile(64, 0, 4)},
            "residual_ffn forward": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 64, 4)},
            "residual_ffn dx": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 64, 4)},
            "softmax_loss forward": {64: Tile(128, 64, 4), 128: Tile(128, 64, 4), 256: Tile(128, 32, 4)},
            "softmax_loss backward": {64: Tile(128, 64, 4), 128: Tile(128, 64, 4), 256: Tile(128, 32, 4)},
            "rank": {64: Tile(64, 64, 4), 128: Tile(64, 64, 4), 256: Tile(64, 64, 4)},
            "topk": {64: Tile(16, 128, 4), 128: Tile(16, 128, 4), 256: Tile(16, 64, 4)},
        },
        "half, unaligned": {
            "attention whole": {32: Tile(64, 32, 4), 64: Tile(64, 32, 4), 128: Tile(64, 16, 8)},
            "gelu_ffn weights": {32: Tile(128, 32, 4), 64: Tile(128, 32, 4), 128: Tile(128, 32, 4)},
            "residual_ffn dx": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(64, 64, 4)},
            "softmax_loss backward": {64: Tile(128, 64, 4), 128: Tile(128, 32, 4), 256: Tile(128, 32, 4)},
        },
        "single": {
            "attention forward": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 32, 4)},
            "attention whole": {32: Tile(64, 32, 4), 64: Tile(64, 32, 4), 128: Tile(64, 16, 4)},
            "attention tiled": {32: Tile(128, 64, 4), 64: Tile(128, 32, 4), 128: Tile(64, 32, 4)},
            "gelu_ffn forward": {32: Tile(128, 64, 4), 64: Tile(128, 64, 4), 128: Tile(128, 64, 4)},
            "gelu_ffn dx": {32: Tile(128, 64, 4), 64: Tile(128, 32, 4), 128: Tile(64, 32, 4)},
            "gelu_ffn weights": {32: Tile(128, 32, 4), 64: Tile(128, 32, 4), 128: Tile(128, 16, 4)},
            "linear backward": {64: Tile(64, 0, 4), 128: Tile(16, 0, 4)},
            "layer_norm of product, forward": {32: Tile(128, 0, 4), 64: Tile(64, 0, 4), 128: Tile(16, 0, 4)},
            "layer_norm of product, backward": {32: Tile(128, 0, 4), 64: Tile(64, 0, 4), 128: Tile(16, 0, 4)},
            "residual_ffn forward": {32: Tile(128, 64, 4), 64: Tile(128, 32, 4), 128: Tile(128, 16, 4)},
            "residual_ffn dx": {32: Tile(128, 64, 4), 64: Tile(128, 32, 4), 128: Tile(128, 16, 4)},
            "softmax_loss forward": {64: Tile(128, 64, 4), 128: Tile(128, 32, 4), 256: Tile(64, 16, 4)},
            "softmax_loss backward": {64: Tile(128, 64, 4), 128: Tile(128, 32, 4), 256: Tile(64, 32, 4)},
            "rank": {64: Tile(64, 64, 4), 128: Tile(64, 64, 4), 256: Tile(32, 32, 4)},
            "topk": {64: Tile(16, 128, 4), 128: Tile(16, 64, 4), 256: Tile(16, 32, 4)},
        },
        "single, unaligned": {
            "attention whole": {32: Tile(64, 32, 4), 64: Tile(64, 32, 4), 128: Tile(64, 16, 8)},
            "attention tiled": {32: Tile(128, 32, 4), 64: Tile(128, 32, 4), 128: Tile(64, 16, 4)},
            "residual_ffn dx": {32: Tile(128, 64, 4), 64: Tile(128, 32, 4), 128: Tile(64, 32, 4)},
        },
    },
}
