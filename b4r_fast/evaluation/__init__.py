"""How good a model ranks what users did next."""

from .losses import held_out_losses
from .metrics import metrics_from_ranks
from .protocols import PROTOCOLS, Ranker, rank_held_out

__all__ = ["PROTOCOLS", "Ranker", "held_out_losses", "metrics_from_ranks", "rank_held_out"]
