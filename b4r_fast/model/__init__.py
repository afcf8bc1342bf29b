"""The model: its configuration, and BERT4Rec composed from the ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config import BERT4RecConfig

if TYPE_CHECKING:
    from .bert4rec import BERT4Rec, BERT4RecOutput, Recommendations

__all__ = ["BERT4Rec", "BERT4RecConfig", "BERT4RecOutput", "Recommendations"]


def __getattr__(name: str) -> Any:
    """What takes torch, and so a second to import, when it is asked for."""
    if name in __all__:
        from . import bert4rec

        return getattr(bert4rec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
