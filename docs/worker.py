"""A worker that loses nothing and repeats nothing: worker.md gives the reasons."""

import contextlib
import http.client
import json
import sys
import threading
import time
import urllib.request
import uuid


class NotNow(Exception):
    """Raised by a handler whose failure may pass: the message is ready after ``delay`` seconds."""

    def __init__(self, delay=30):
        self.delay = delay


class Worker:
    """Has the messages of some queues handled, one after the other, until it is stopped."""

    def __init__(self, url, project, queues, handle, ttl=60):
        self.url, self.handle, self.ttl = url, handle, ttl
        self.headers = {'X-Project-Id': project, 'Client-ID': str(uuid.uuid4())}
        self.headers['Content-Type'] = 'application/json'
        self.terms = {'queues': queues, 'limit': 10, 'ttl': ttl}
        self.batch, self.missing, self.is_stopping = ([], {}), set(), False

    def stop(self, *signal_and_frame):
        """Claim no more, finish the message in hand, give the others back."""
        self.is_stopping = True

    def run(self):
        """Claim, handle, and give a verdict on each message."""
        threading.Thread(target=self.beat, daemon=True).start()
        while not self.is_stopping:
            began = time.monotonic()
            end = began + self.ttl
            claimed = self.post('/v2/claims?wait=5', self.terms, tries=30)
            self.tell_missing(claimed['missing'])
            held_until = {message['id']: end for message in claimed['messages']}
            self.batch = claimed['claims'], held_until
            for claim in claimed['claims']:
                held = [m for m in claimed['messages'] if m['claim_id'] == claim['id']]
                verdicts = [self.judge(message, held_until) for message in held]
                self.post(claim['href'] + '/verdicts', {'verdicts': verdicts}, tries=30)
            # An empty answer at once: nothing waits at the moment.
            if not held_until and time.monotonic() < began + 1:
                time.sleep(1)

    def judge(self, message, held_until):
        """Handle a message, if the claim still holds it; the verdict on it."""
        if self.is_stopping or time.monotonic() >= held_until[message['id']]:
            return {'id': message['id'], 'verdict': 'release'}
        try:
            self.handle(message)
        except NotNow as failure:
            return {'id': message['id'], 'verdict': 'release', 'delay': failure.delay}
        except Exception as failure:
            return {'id': message['id'], 'verdict': 'park', 'reason': repr(failure)[:1000]}
        return {'id': message['id'], 'verdict': 'delete'}

    def tell_missing(self, names):
        """Say once of each queue that it does not exist; a worker may be there before it is."""
        for name in sorted(set(names) - self.missing):
            project = self.headers['X-Project-Id']
            print(f'queue {name} does not exist in project {project}', file=sys.stderr)
        self.missing.update(names)

    def beat(self):
        """Three times in a ttl, renew the claims: each holds its messages for another ttl."""
        while True:
            time.sleep(self.ttl / 3)
            claims, held_until = self.batch
            for claim in claims:
                end = time.monotonic() + self.ttl
                with contextlib.suppress(OSError, http.client.HTTPException):
                    told = self.post(claim['href'] + '/heartbeat', {'ttl': self.ttl})['verdicts']
                    held_until.update({v['id']: end for v in told if v['result'] == 'done'})

    def post(self, path, document, tries=1):
        """The service's answer; while it cannot answer, ask again every second."""
        content = json.dumps(document).encode()
        request = urllib.request.Request(self.url + path, content, self.headers)
        while True:
            try:
                with urllib.request.urlopen(request, timeout=15) as answer:
                    return json.load(answer)
            except (OSError, http.client.HTTPException) as error:
                tries -= 1
                if not tries or getattr(error, 'code', 503) < 500:
                    raise
            time.sleep(1)
