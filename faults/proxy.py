"""A proxy in front of a service, in which answers get lost: after the service has carried out what it was asked."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any

#: The chance of each that an answer is cut off before its first byte, or in its midst; that a
#: connection is reset; that bytes are held up; and that a request drips.
CUT, HALVED, RESET, LATE, DRIPPING = 0.03, 0.01, 0.01, 0.05, 0.01
# Seconds for which bytes are held up, at most, and between two dripping ones.
_LATENCY = 0.05
_DROP = 0.002
_DRIPPED = 60


def run(listener: socket.socket, port: int, chance: random.Random) -> None:
    """Pass on what comes to ``listener``, to the service at ``port``, until the process is ended."""
    asyncio.run(_Proxy(port, chance).serve(listener))


class _Proxy:
    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance

    async def serve(self, listener: socket.socket) -> None:
        async with await asyncio.start_server(self._pass_on, sock=listener) as server:
            await server.serve_forever()

    async def _pass_on(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            service, there = await asyncio.open_connection('127.0.0.1', self._port)
            try:
                await _until_one_ends(
                    self._copy(client, there, self._ask), self._copy(service, back, self._answer)
                )
            finally:
                there.transport.abort()
        # With a reset, or with an end.
        back.transport.abort() if self._happens(0.5) else back.close()

    async def _copy(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        send: Callable[[asyncio.StreamWriter, bytes], Coroutine[Any, Any, bool]],
    ) -> None:
        with contextlib.suppress(OSError):
            while content := await source.read(65536):
                if self._happens(LATE):
                    await asyncio.sleep(self._chance.uniform(0, _LATENCY))
                if not await send(target, content):
                    return
                await target.drain()

    async def _ask(self, service: asyncio.StreamWriter, content: bytes) -> bool:
        """Send on a part of a request; whether the connection goes on."""
        if self._happens(DRIPPING):
            for place in range(min(len(content), _DRIPPED)):
                service.write(content[place : place + 1])
                await asyncio.sleep(_DROP)
            content = content[_DRIPPED:]
        service.write(content)
        return True

    async def _answer(self, client: asyncio.StreamWriter, content: bytes) -> bool:
        """Send back a part of an answer, or lose it."""
        if self._happens(CUT):
            return False
        if self._happens(HALVED):
            client.write(content[: len(content) // 2])
            return False
        if self._happens(RESET):
            client.transport.abort()
            return False
        client.write(content)
        return True

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability


async def _until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
