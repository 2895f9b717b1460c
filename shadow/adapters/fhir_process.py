"""The process for FHIR: asks the servers by turns, and listens for those that send by themselves."""

from __future__ import annotations

import logging
import signal
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn

from shadow.adapters.fhir_hook import hook_application
from shadow.adapters.fhir_poll import FhirPoller
from shadow.domain.clock import Clock
from shadow.domain.errors import ArchiveUnavailable, SetupError
from shadow.protocol.deployment import FhirListener
from shadow.reference_standard.report_files import InboundFile
from shadow.store.journal import JournalWriter

_LOGGER = logging.getLogger("shadow.reports")
STOP_SECONDS = 5


class FhirInbox:
    """The journal of what FHIR servers send; several threads write, one after the other."""

    def __init__(self, journal: JournalWriter, clock: Clock) -> None:
        self._journal, self._clock = journal, clock
        self._lock = threading.Lock()

    def keep(self, site: str, content: bytes) -> None:
        """Put one body into the journal; on disk when this returns."""
        with self._lock:
            self._journal.append(InboundFile(site, ".json", content).to_payload(), self._clock.now())


class _Asking(threading.Thread):
    """Asks one server until told to stop, at once where there is news."""

    def __init__(self, poller: FhirPoller, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._poller, self._stop_all = poller, stop
        self.news = threading.Event()

    def run(self) -> None:
        while not self._stop_all.is_set():
            try:
                new = self._poller.poll()
                if new:
                    _LOGGER.info("fhir reports=%d", new)
            except ArchiveUnavailable as error:
                _LOGGER.warning("fhir not asked: %s", error)
            except OSError as error:
                _LOGGER.error("fhir disk refused errno=%s", error.errno)
            self.news.wait(self._poller.pause_seconds)
            self.news.clear()


def run_fhir(
    journal: JournalWriter,
    clock: Clock,
    pollers: Callable[[FhirInbox], Mapping[str, list[FhirPoller]]],
    listener: tuple[FhirListener, Path, ssl.SSLContext | None] | None,
    sites: tuple[str, ...],
    ready: Callable[[], None],
) -> None:
    """Ask and listen until SIGTERM or SIGINT. Call it in the main thread.

    Args:
        journal: of this process alone.
        clock: gives the instant of arrival.
        pollers: by site, given where their pages go.
        listener: its settings, the file with its token, and its TLS; None where nobody sends by themselves.
        sites: identifiers that may send.
        ready: called once everything runs.

    Raises:
        SetupError: the listener has no token.
    """
    inbox, stop = FhirInbox(journal, clock), threading.Event()
    asking = {site: [_Asking(one, stop) for one in some] for site, some in pollers(inbox).items()}
    threads = [one for some in asking.values() for one in some]

    def news(site: str) -> None:
        for one in asking.get(site, []):
            one.news.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())  # uvicorn raises what it caught once more when it has ended
    for one in threads:
        one.start()
    try:
        if listener is None:
            ready()
            stop.wait()
        else:
            settings, token_file, tls = listener
            application = hook_application(settings, _token(token_file), sites, inbox.keep, news)
            _serve(settings, application, tls, ready)
    finally:
        stop.set()
        for one in threads:
            one.news.set()
        for one in threads:
            one.join(STOP_SECONDS)


class _Server(uvicorn.Server):
    """Says when it listens."""

    ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self.ready()


def _serve(
    settings: FhirListener, application: Callable[..., object], tls: ssl.SSLContext | None, ready: Callable[[], None]
) -> None:
    configuration = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        limit_concurrency=64,
    )
    configuration.load()
    configuration.ssl = tls
    server = _Server(configuration)
    server.ready = ready
    server.run()


def _token(file: Path) -> str:
    """What senders must know; an empty one would let in anybody."""
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token:
        raise SetupError(f"fhir_listener.token_file: {file} holds no token; write one into it")
    return token
