"""The MLLP listener: HL7 messages go into the journal as they come, durable before they are acknowledged.

Nothing is parsed here beyond what an acknowledgement repeats from the header. A message that later turns out
to be junk is acknowledged all the same: refusing it would make the sender's queue stand still, and it is
counted when the journal is read. Only a disk that refuses (AE) and a message above the limit (AR) are refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from shadow.adapters.mllp_frames import Acknowledgement, Frame, FrameReader, acknowledge
from shadow.domain.clock import Clock
from shadow.protocol.deployment import ReportListener
from shadow.store.journal import Arrival, JournalWriter

_READ_BYTES = 1 << 18
_BACKLOG = 256
_MAXIMUM_CONNECTIONS = 64
_STOP_SECONDS = 1.5
_HANDSHAKE_SECONDS = 10.0
_ACCEPT_AGAIN_SECONDS = 0.5
_LOGGER = logging.getLogger("shadow.reports")


@dataclass(slots=True)
class Counts:
    """What the listener has done since it started."""

    accepted: int = 0
    refused_by_disk: int = 0
    oversize: int = 0
    connections: int = 0
    bytes_outside_frames: int = 0
    refused_connections: int = 0


class _GroupCommit:
    """Writes what all connections have waiting with one sync, in the order in which they asked."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._waiting: list[tuple[Arrival, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def append(self, arrival: Arrival) -> None:
        """Returns when the message is on disk. Raises OSError where it is not."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit_waiting())
        await done

    async def close(self) -> None:
        """Wait for the commit under way."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_SECONDS)
        self._thread.shutdown(wait=False)

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            arrivals = [arrival for arrival, _ in batch]
            try:
                await loop.run_in_executor(self._thread, self._journal.append_many, arrivals)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it; none of it is acknowledged
                _settle([done for _, done in batch], error)
            else:
                _settle([done for _, done in batch], None)


def _settle(waiting: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for done in waiting:
        if done.cancelled():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


@dataclass(slots=True)
class MllpServer:
    """A running listener.

    Attributes:
        port: where it listens; the one that was asked for, or the one that the system chose for 0.
        counts: what it has done so far.
    """

    port: int
    counts: Counts
    _door: _Door
    _commits: _GroupCommit
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def close(self) -> None:
        """Stop listening, let the commit under way end, and drop the connections; within about 2 seconds."""
        self._door.close()
        await self._commits.close()
        # One turn of the loop for the acknowledgements of that last commit.
        await asyncio.sleep(0.05)
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=0.3)


async def serve_mllp(
    host: str,
    port: int,
    journal: JournalWriter,
    clock: Clock,
    *,
    maximum_message_bytes: int,
    idle_seconds: float,
    allowed_addresses: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
) -> MllpServer:
    """Listen for MLLP connections.

    Args:
        host: the address to bind.
        port: 0 lets the system choose one.
        journal: where messages go; used from one thread.
        clock: gives `received_at`, the instant at which a message's last byte was read.
        maximum_message_bytes: a longer message is skipped and answered with AR.
        idle_seconds: a connection that is silent for so long is closed.
        allowed_addresses: networks that may connect; empty lets any. Others are closed before a byte is read.
        tls: what is asked of those who connect; None where the network itself is trusted.

    Raises:
        OSError: the port is taken.
    """
    counts = Counts()
    commits = _GroupCommit(journal)
    connections: set[asyncio.Task[None]] = set()
    networks = [ipaddress.ip_network(one) for one in allowed_addresses]

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is handled in a task"
        connections.add(task)
        task.add_done_callback(connections.discard)
        try:
            counts.connections += 1
            await _converse(reader, writer, commits, clock, counts, maximum_message_bytes, idle_seconds)
        except (TimeoutError, OSError, asyncio.CancelledError):
            # The sender left, fell silent, or we stop: what was not acknowledged, it sends again.
            pass
        finally:
            writer.close()

    def refused(reason: str) -> None:
        counts.refused_connections += 1
        _LOGGER.warning("connection refused reason=%s count=%d", reason, counts.refused_connections)

    def refusal(address: str) -> str | None:
        if networks and not any(ipaddress.ip_address(address) in one for one in networks):
            return "address"
        return "too_many" if len(connections) + len(door.opening) >= _MAXIMUM_CONNECTIONS else None

    door = _Door(_listening_socket(host, port), connected, refusal, refused, tls)
    return MllpServer(door.port, counts, door, commits, connections)


def _listening_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


class _Door:
    """Accepts connections: an address is looked at before a byte is read, and handshakes hold nobody up."""

    def __init__(
        self,
        listener: socket.socket,
        connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        refusal: Callable[[str], str | None],
        refused: Callable[[str], None],
        tls: ssl.SSLContext | None,
    ) -> None:
        listener.setblocking(False)
        self.port: int = listener.getsockname()[1]
        self.opening: set[asyncio.Task[None]] = set()
        self._listener, self._connected, self._tls = listener, connected, tls
        self._refusal, self._refused = refusal, refused
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept nobody any more."""
        for task in (self._accepting, *self.opening):
            task.cancel()
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(self._listener)
            except OSError as error:  # too many open files: wait for some to close
                _LOGGER.warning("accept failed errno=%s", error.errno)
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
                continue
            reason = self._refusal(peer[0])
            if reason is not None:
                connection.close()
                self._refused(reason)
                continue
            task = asyncio.create_task(self._open(connection))
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        """Shake hands where TLS is asked for, and hand the streams over."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(limit=_READ_BYTES, loop=loop)
            return asyncio.StreamReaderProtocol(reader, self._connected, loop=loop)

        try:
            timeout = _HANDSHAKE_SECONDS if self._tls is not None else None
            await loop.connect_accepted_socket(protocol, connection, ssl=self._tls, ssl_handshake_timeout=timeout)
        except ssl.SSLError as error:
            self._refused(f"tls:{(error.reason or 'handshake').lower()}")
        except (OSError, asyncio.CancelledError):
            self._refused("connection_lost")


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    commits: _GroupCommit,
    clock: Clock,
    counts: Counts,
    maximum_message_bytes: int,
    idle_seconds: float,
) -> None:
    """Take the frames of one connection one after the other until it ends."""
    frames = FrameReader(maximum_message_bytes)
    try:
        while True:
            async with asyncio.timeout(idle_seconds):
                octets = await reader.read(_READ_BYTES)
            if not octets:
                return
            for frame in frames.feed(octets):
                outcome = await _take(frame, commits, clock, counts)
                reply = acknowledge(frame.payload, outcome, clock.now())
                if reply is not None:
                    writer.write(reply)
                    async with asyncio.timeout(idle_seconds):
                        await writer.drain()
    finally:
        counts.bytes_outside_frames += frames.bytes_outside


async def _take(frame: Frame, commits: _GroupCommit, clock: Clock, counts: Counts) -> Acknowledgement:
    """Bring one frame onto the disk, or say why not."""
    if frame.oversize:
        counts.oversize += 1
        _LOGGER.warning("message refused reason=oversize count=%d", counts.oversize)
        return Acknowledgement.REJECT
    try:
        await commits.append(Arrival(frame.payload, clock.now()))
    except OSError as error:
        counts.refused_by_disk += 1
        _LOGGER.error("message refused reason=disk errno=%s count=%d", error.errno, counts.refused_by_disk)
        return Acknowledgement.ERROR
    counts.accepted += 1
    if _LOGGER.isEnabledFor(logging.DEBUG):
        digest = hashlib.sha256(frame.payload).hexdigest()[:16]
        _LOGGER.debug("message accepted bytes=%d sha256=%s", len(frame.payload), digest)
    return Acknowledgement.ACCEPT


def run_report_listener(
    settings: ReportListener,
    folder: Path,
    clock: Clock,
    ready: Callable[[], None],
    *,
    key: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Listen until SIGTERM or SIGINT; returns within 2 seconds of it. Call it in the main thread.

    Args:
        settings: where to listen, and the limits.
        folder: the journal's folder.
        clock: the trial's clock.
        ready: called once the port is open.
        key: encrypts the journal; None leaves it in clear.
        tls: for the connections; None where the network itself is trusted.

    Raises:
        StoreError: another process writes this journal.
        OSError: the port is taken.
    """
    with JournalWriter(folder, key) as journal:
        asyncio.run(_listen(settings, journal, clock, ready, tls))


async def _listen(
    settings: ReportListener,
    journal: JournalWriter,
    clock: Clock,
    ready: Callable[[], None],
    tls: ssl.SSLContext | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await serve_mllp(
        settings.host,
        settings.port,
        journal,
        clock,
        maximum_message_bytes=settings.maximum_message_bytes,
        idle_seconds=settings.idle_seconds,
        allowed_addresses=settings.allowed_addresses,
        tls=tls,
    )
    _LOGGER.info("listening port=%d", server.port)
    ready()
    await stop.wait()
    await server.close()
    counts = server.counts
    _LOGGER.info(
        "stopped accepted=%d refused_by_disk=%d oversize=%d connections=%d refused=%d bytes_outside_frames=%d",
        counts.accepted,
        counts.refused_by_disk,
        counts.oversize,
        counts.connections,
        counts.refused_connections,
        counts.bytes_outside_frames,
    )
