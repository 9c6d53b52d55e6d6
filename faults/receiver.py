"""A webhook that takes most of what it is sent, and fails, hangs or vanishes in between."""

import asyncio
import contextlib
import random
import socket

import msgspec

from faults.log import DONE, REFUSED, Log
from faults.numbers import number_in

# The chances that it answers 500, that it takes a message without an answer, and that it hangs.
_FAILS, _VANISHES, _HANGS = 0.04, 0.03, 0.01
# Seconds for which it hangs.
_LONG = 3.0


def run(listener: socket.socket, queue: str, log: Log, chance: random.Random) -> None:
    """Take what comes to ``listener``, until the process is ended."""
    asyncio.run(_Receiver(queue, log, chance).serve(listener))


class _Receiver:
    def __init__(self, queue: str, log: Log, chance: random.Random) -> None:
        self._queue = queue
        self._log = log
        self._chance = chance

    async def serve(self, listener: socket.socket) -> None:
        async with await asyncio.start_server(self._take_all, sock=listener) as server:
            await server.serve_forever()

    async def _take_all(self, service: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._take_one(service, back):
                await back.drain()
        back.close()

    async def _take_one(self, service: asyncio.StreamReader, back: asyncio.StreamWriter) -> bool:
        """Answer a call; whether the connection goes on."""
        head = await service.readuntil(b'\r\n\r\n')
        [length] = [
            int(line.partition(b':')[2])
            for line in head.lower().splitlines()
            if line.startswith(b'content-length:')
        ]
        message = msgspec.json.decode(await service.readexactly(length))
        call = self._log.begin(
            'delivered', queue=self._queue, number=number_in(message['body']) or 0
        )
        fate = self._chance.random()
        if fate < _FAILS:
            self._log.end(call, REFUSED)
            back.write(b'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')
            return True
        if fate < _FAILS + _HANGS:
            await asyncio.sleep(_LONG)
        self._log.end(call, DONE)
        if fate < _FAILS + _HANGS + _VANISHES:
            return False
        back.write(b'HTTP/1.1 204 Yes\r\n\r\n')
        return True
