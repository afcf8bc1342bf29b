"""For processes that a test stops by a signal."""

import signal

from b4r_fast.signals import STOPPING


def heed_signals() -> None:
    """In the background, or under nohup, the tests ignore some, and their processes with them."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
