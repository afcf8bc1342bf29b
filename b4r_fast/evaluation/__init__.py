"""How good a model ranks what users did next."""

from .metrics import metrics_from_ranks
from .protocols import PROTOCOLS, Ranker, rank_held_out

__all__ = ["PROTOCOLS", "Ranker", "metrics_from_ranks", "rank_held_out"]
