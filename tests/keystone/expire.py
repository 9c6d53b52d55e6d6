"""Prints a token of Keystone's as if its time were over; run in Keystone's own environment.

Usage: expire.py DIRECTORY TOKEN, with the directory in which that Keystone keeps its keys. They
sign what is printed, as they have signed what was given.
"""

import sys
from pathlib import Path

import msgpack
from cryptography.fernet import Fernet

HOUR = 3600


def main(directory, token):
    # The newest has the highest number.
    newest = max(Path(directory, 'fernet').iterdir(), key=lambda path: int(path.name))
    fernet = Fernet(newest.read_bytes())
    whole = token + '=' * (-len(token) % 4)
    # The one float among what it says is its end.
    said = [
        field - 2 * HOUR if isinstance(field, float) else field
        for field in msgpack.unpackb(fernet.decrypt(whole))
    ]
    issued = fernet.extract_timestamp(whole) - 2 * HOUR
    print(fernet.encrypt_at_time(msgpack.packb(said), issued).decode().rstrip('='))


if __name__ == '__main__':
    main(*sys.argv[1:])
