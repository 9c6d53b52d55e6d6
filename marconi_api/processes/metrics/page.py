"""``/metrics`` over HTTP, on an address of its own."""

import logging
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

#: The one path that is served.
PATH = '/metrics'

# Seconds for which a client may be silent, and clients that are served at once.
_PATIENCE = 10.0
_MOST_AT_ONCE = 8


class Page(ThreadingHTTPServer):
    """Serves what a collector collects, to any client, on a socket that listens already.

    One collects at a time. A client that comes while many are being served is turned away.
    """

    daemon_threads = True

    def __init__(self, listener: socket.socket, collector: Collector) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.collector = collector
        self.turn = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def process_request(self, request: object, client_address: object) -> None:
        """Serve a client in a thread, if there is a place."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve it, and make room for another."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong, unless it is that a client has gone."""
        if not isinstance(sys.exception(), OSError):
            log.exception('the metrics could not be told')


class _Handler(BaseHTTPRequestHandler):
    server: Page
    timeout = _PATIENCE
    # Not which Python this is.
    server_version = sys_version = ''

    def do_GET(self) -> None:
        if self.path.partition('?')[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, 'text/plain', b'The metrics are at /metrics.\n')
            return
        encode, content_type = choose_encoder(self.headers.get('Accept', ''))
        with self.server.turn:
            text = encode(self.server.collector)
        self._answer(HTTPStatus.OK, content_type, text)

    def _answer(self, status: HTTPStatus, content_type: str, text: bytes) -> None:
        self.send_response(status)
        self.send_header('Content-Type', content_type)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no lines of the log."""
