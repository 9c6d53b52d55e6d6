"""Posts jobs, and repeats a request whose answer is lost: producer.md gives the reasons.

Usage: python producer.py http://127.0.0.1:8888 PROJECT QUEUE < JOBS, a JSON object in each line
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
import uuid


class Producer:
    """Posts jobs to the queues of a project; tries for ``patience`` seconds to have them stored."""

    def __init__(self, url, project, patience=60):
        self.url, self.patience = url, patience
        self.headers = {'X-Project-Id': project, 'Client-ID': str(uuid.uuid4())}
        self.headers['Content-Type'] = 'application/json'

    def post(self, queue, jobs, ttl=3600):
        """Store all jobs or none; the paths of their messages. A job is a dict.

        Raises an HTTPError below 500 if nothing was stored. After any other OSError or
        HTTPException it is unknown: call it again with the same jobs.
        """
        for job in jobs:
            job.setdefault('id', str(uuid.uuid4()))
        messages = [{'ttl': ttl, 'body': job} for job in jobs]
        return self.send(f'/v2/queues/{queue}/messages', {'messages': messages})['resources']

    def send(self, path, document):
        """The service's answer, asked for again while that can help."""
        content = json.dumps(document).encode()
        headers = {**self.headers, 'Idempotency-Key': str(uuid.uuid4())}
        request = urllib.request.Request(self.url + path, content, headers)
        end = time.monotonic() + self.patience
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except (OSError, http.client.HTTPException) as error:
                pause = pause_after(error)
                if pause is None or time.monotonic() + pause > end:
                    raise
            time.sleep(pause)


def pause_after(error):
    """Seconds until it is worth sending the request again; None if it never is."""
    if not isinstance(error, urllib.error.HTTPError):
        return 1
    if error.code < 500 and error.code not in (409, 429):
        error.add_note(error.read().decode(errors='replace'))
        return None
    # A proxy may send a date instead of seconds.
    seconds = error.headers.get('Retry-After', '')
    return int(seconds) if seconds.isdigit() else 1


if __name__ == '__main__':
    url, project, queue = sys.argv[1:]
    producer = Producer(url, project)
    for line in sys.stdin:
        for path in producer.post(queue, [json.loads(line)]):
            print(path)
