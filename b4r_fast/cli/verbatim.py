"""What a person wrote, ids and paths, as it is: rich takes [x] for markup and :book: for an
emoji.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def verbatim(text: object) -> Text:
    """For a table's cell or title."""
    return Text(str(text))


def say(console: Console, message: str) -> None:
    """A message as one line, wrapped by the terminal alone."""
    console.print(verbatim(message), soft_wrap=True)
