"""What uwsgi serves as Zaqar: run by the interpreter of Zaqar's own environment.

As marconi_api/wsgi.py does for ours: uwsgi's router closes the connection after an answer
without a length, such as Zaqar's 204.
"""

from collections.abc import Callable, Iterable
from typing import Any

from zaqar.transport.wsgi.app import app


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Zaqar, with a length in each answer."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        if status.startswith('204'):
            headers = [*headers, ('Content-Length', '0')]
        return start_response(status, headers, *exc_info)

    answer: Iterable[bytes] = app(environ, start)
    return answer
