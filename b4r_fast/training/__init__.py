"""Training through Lightning."""

from .settings import PRESETS, RunFile, TrainSettings

__all__ = ["PRESETS", "RunFile", "TrainSettings"]
