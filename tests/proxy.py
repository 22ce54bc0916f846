"""A TCP proxy that cuts, holds, swallows and delays on command, to bring faults into real connections."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Direction = Literal["to_server", "to_client"]
BOTH: tuple[Direction, ...] = ("to_server", "to_client")
CHUNK_BYTES = 65536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

T = TypeVar("T")


@dataclass(eq=False)
class Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def reset(self) -> None:
        """Close so that both ends see a reset, not an orderly end."""
        for writer in (self.client, self.server):
            end: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()


class Proxy:
    """Listens on `port` of 127.0.0.1 and forwards to the upstream server. Commands hold for all connections.

    hold()      bytes wait and go on after resume(), as in a network that stops for a while
    swallow()   bytes vanish: both ends see an open connection on which nothing comes, until cut()
    delay(s)    every piece is late by so many seconds
    cut()       present connections are reset
    cut_behind(n)   they are reset when the servers have answered so many bytes more
    refuse()    new connections are reset as well
    resume()    forward as at the beginning
    """

    host = "127.0.0.1"

    def __init__(self, upstream_port: int, *, upstream_host: str = "127.0.0.1") -> None:
        self.upstream = (upstream_host, upstream_port)
        self.accepted = 0
        """Connections made through the proxy so far."""
        self.tried = 0
        """Connections that were tried, also those that it, or the server behind it, has refused."""
        self._links: set[Link] = set()
        self._swallowed: set[Direction] = set()
        self._delay_s = 0.0
        self._answer_bytes = math.inf
        """How many bytes of answers are passed on before all connections are reset."""
        self._admitted = math.inf
        """How many further connections are taken."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._listener, self._open = self._run(self._listen())
        self.port: int = self._listener.sockets[0].getsockname()[1]

    @property
    def open_connections(self) -> int:
        return len(self._links)

    def hold(self, *directions: Direction) -> None:
        for direction in directions or BOTH:
            self._loop.call_soon_threadsafe(self._open[direction].clear)

    def swallow(self, *directions: Direction) -> None:
        self._swallowed |= set(directions or BOTH)

    def delay(self, seconds: float) -> None:
        self._delay_s = seconds

    def cut(self) -> int:
        """Reset the present connections; how many there were."""
        return self._run(self._cut())

    def cut_behind(self, size: int) -> None:
        self._answer_bytes = size

    def refuse(self) -> None:
        self.refuse_new()
        self.cut()

    def refuse_new(self, *, but: int = 0) -> None:
        """Keep the present connections, and take no further ones but so many."""
        self._admitted = but

    def resume(self) -> None:
        """End hold, swallow, delay and refusal. What was swallowed is gone: cut() such connections as well."""
        self._swallowed, self._delay_s, self._admitted, self._answer_bytes = set(), 0.0, math.inf, math.inf
        for event in self._open.values():
            self._loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> tuple[asyncio.Server, dict[Direction, asyncio.Event]]:
        gates: dict[Direction, asyncio.Event] = {direction: asyncio.Event() for direction in BOTH}
        for event in gates.values():
            event.set()
        return await asyncio.start_server(self._serve, self.host, 0), gates

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tried += 1
        link = Link(writer, writer)
        with suppress(OSError):
            if self._admitted:
                self._admitted -= 1
                server_reader, server_writer = await asyncio.open_connection(*self.upstream)
                link = Link(writer, server_writer)
                self._links.add(link)
                self.accepted += 1
                await asyncio.gather(
                    self._forward(reader, server_writer, "to_server"), self._forward(server_reader, writer, "to_client")
                )
        self._links.discard(link)
        link.reset()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction) -> None:
        while piece := await source.read(CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._open[direction].wait()
            if direction == "to_client" and len(piece) > self._answer_bytes:
                sink.write(piece[: int(self._answer_bytes)])
                self._answer_bytes = math.inf
                await sink.drain()
                await self._cut()
                return
            if direction == "to_client":
                self._answer_bytes -= len(piece)
            if direction not in self._swallowed:
                sink.write(piece)
                await sink.drain()
        await sink.drain()
        sink.write_eof()

    async def _cut(self) -> int:
        links, self._links = self._links, set()
        for link in links:
            link.reset()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round
        return len(links)

    async def _shut(self) -> None:
        self._listener.close()
        await self._cut()
        # A server's task that is cancelled makes asyncio's own callback fail, aloud.
        self._loop.set_exception_handler(lambda loop, context: None)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def proxy_to(upstream_port: int) -> Iterator[Proxy]:
    """A proxy in front of a server on 127.0.0.1, closed at the end."""
    proxy = Proxy(upstream_port)
    try:
        yield proxy
    finally:
        proxy.close()
