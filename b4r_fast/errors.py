"""The one error type for what a user gave and we cannot use, and a line of other ones."""


def first_line(error: Exception) -> str:
    """What somebody else's error says, for a message of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class InputError(ValueError):
    """A file, row, field or option cannot be used as it is.

    The message is one line that names what is wrong, where (file, row, field), and what would be
    right. Parameters and commands stand in it in backticks, by their names in Python. The command
    line prints it without a traceback, with its options for the parameters, and exits with 2.
    """
