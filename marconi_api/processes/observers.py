"""Those who are told of each request: log, metrics, traces. By default there are none."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from marconi_api.model.handled import handled
from marconi_api.processes import log_lines
from marconi_api.wire.tracing import Told


class Observer(Protocol):
    """Is told of each request.

    A status is as in the answer's first line, a time one of ``time.monotonic()``. A request that
    waits for messages is noted in its environment, and ended by the process that answers it. It comes
    with the number of messages that it posted, handed out, listed or changed.
    """

    def begin(self, environ: dict[str, Any], /) -> None:
        """A request has come."""

    def end(self, environ: Mapping[str, Any], status: str, began: float, messages: int, /) -> None:
        """This thread has answered it."""

    def end_noted(
        self,
        environ: Mapping[str, Any],
        status: str,
        began: float,
        messages: int,
        told: Sequence[Told],
        /,
    ) -> None:
        """One that waited is answered, with these messages if somebody wants to know of them."""


class Observers:
    """All of them; without any, nobody need be asked."""

    def __init__(self, logs_requests: bool, *others: Observer | None) -> None:
        self._all: list[Observer] = [log_lines] if logs_requests else []
        self._all += [other for other in others if other is not None]

    def __bool__(self) -> bool:
        return bool(self._all)

    def begin(self, environ: dict[str, Any]) -> None:
        """A request has come."""
        handled.take()
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
            messages = handled.take()
            for observer in self._all:
                observer.end(environ, status, began, messages)

    def end_noted(
        self,
        environ: Mapping[str, Any],
        status: str,
        began: float,
        messages: int,
        told: Sequence[Told] = (),
    ) -> None:
        """One that waited is answered, if it was noted."""
        if log_lines.NOTED in environ:
            for observer in self._all:
                observer.end_noted(environ, status, began, messages, told)
