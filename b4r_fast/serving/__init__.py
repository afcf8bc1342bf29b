"""From raw histories to raw recommendations."""

from .recommender import Recommendation, Recommender

__all__ = ["Recommendation", "Recommender"]
