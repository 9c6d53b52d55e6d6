"""A webhook that takes what Marconi sends, and nothing else: eventing.md gives the reasons."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import sys
import time

# What the subscription's reply told, without whsec_; after a rotation both secrets.
SECRETS = [
    base64.b64decode(secret.removeprefix('whsec_')) for secret in os.environ['SECRETS'].split()
]
TOLERANCE = 300  # seconds
LONGEST = 2**20  # bytes

seen = set()  # in earnest: a table, written in the transaction of handle


def is_genuine(headers, body):
    """Whether one of the secrets signed this call, a short time ago."""
    sent = headers['webhook-timestamp'] or ''
    if not sent.isdigit() or abs(time.time() - int(sent)) > TOLERANCE:
        return False
    signed = f'{headers["webhook-id"]}.{sent}.'.encode() + body
    expected = [
        b'v1,' + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in SECRETS
    ]
    given = (headers['webhook-signature'] or '').encode().split()
    return any([hmac.compare_digest(one, other) for one in given for other in expected])


def handle(message):
    """Do what the message is for."""
    print(json.dumps(message['body']), flush=True)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 204 to what was handled, now or before."""

    def do_POST(self):
        """Take a call."""
        length = int(self.headers['Content-Length'] or 0)
        if length > LONGEST:
            return self.answer(413)
        body = self.rfile.read(length)
        if not is_genuine(self.headers, body):
            return self.answer(401)
        if self.headers['webhook-id'] not in seen:
            handle(json.loads(body))
            seen.add(self.headers['webhook-id'])
        return self.answer(204)

    def answer(self, status):
        """Say nothing but the status."""
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        """Keep the log for what was handled."""


if __name__ == '__main__':
    server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Receiver)
    print(server.server_port, flush=True)
    server.serve_forever()
