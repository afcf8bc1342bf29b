"""Training through Lightning."""

from .auto import AUTO, auto_settings
from .settings import PRESETS, RunFile, TrainSettings

__all__ = ["AUTO", "PRESETS", "RunFile", "TrainSettings", "auto_settings"]
