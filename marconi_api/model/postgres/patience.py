"""How long one request goes on looking through messages that it cannot use."""

import time


class Patience:
    """Is over after so many seconds, by ``time.monotonic()`` of this process."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._ends_at
