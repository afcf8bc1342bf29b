"""How good a model ranks what users did next."""

from .losses import held_out_losses
from .metrics import Spread, metrics_from_ranks, spread
from .protocols import PROTOCOLS, Ranker, rank_held_out

__all__ = [
    "PROTOCOLS",
    "Ranker",
    "Spread",
    "held_out_losses",
    "metrics_from_ranks",
    "rank_held_out",
    "spread",
]
