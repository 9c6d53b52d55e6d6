"""Those who are told of each request: the log, and the metrics. By default there are none."""

from collections.abc import Mapping
from typing import Any, Protocol

from marconi_api.processes import log_lines


class Observer(Protocol):
    """Is told of each request.

    A status is as in the answer's first line, a time one of ``time.monotonic()``. A request that
    waits for messages is noted in its environment, and ended by the process that answers it.
    """

    def begin(self, environ: dict[str, Any], /) -> None:
        """A request has come."""

    def end(self, environ: Mapping[str, Any], status: str, began: float, /) -> None:
        """This thread has answered it."""

    def end_noted(
        self, environ: Mapping[str, Any], status: str, began: float, messages: int, /
    ) -> None:
        """One that waited is answered, with so many messages."""


class Observers:
    """All of them; without any, nobody need be asked."""

    def __init__(self, logs_requests: bool, *others: Observer | None) -> None:
        self._all: list[Observer] = [log_lines] if logs_requests else []
        self._all += [other for other in others if other is not None]

    def __bool__(self) -> bool:
        return bool(self._all)

    def begin(self, environ: dict[str, Any]) -> None:
        """A request has come."""
        for observer in self._all:
            observer.begin(environ)

    def note(self, environ: dict[str, Any]) -> None:
        """Another process will end it."""
        log_lines.note(environ)

    def forget(self, environ: dict[str, Any]) -> None:
        """No other process will."""
        environ.pop(log_lines.NOTED, None)

    def end(self, environ: Mapping[str, Any], status: str, began: float) -> None:
        """This thread has answered it, unless it was noted."""
        if log_lines.NOTED not in environ:
            for observer in self._all:
                observer.end(environ, status, began)

    def end_noted(
        self, environ: Mapping[str, Any], status: str, began: float, messages: int
    ) -> None:
        """One that waited is answered, if it was noted."""
        if log_lines.NOTED in environ:
            for observer in self._all:
                observer.end_noted(environ, status, began, messages)
