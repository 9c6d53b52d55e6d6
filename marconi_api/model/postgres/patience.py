"""How long one request goes on looking, where much lies in the way that it cannot use."""

import time


class Patience:
    """Is over after so many seconds; by this process's clock, on which nothing else depends."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether to stop, with an answer that says so."""
        return time.monotonic() >= self._ends_at
