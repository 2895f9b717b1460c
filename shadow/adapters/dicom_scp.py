"""The C-STORE SCP: what a router sends is durable before it is told 0x0000, and nothing goes back but that.

Answers C-STORE and C-ECHO, and storage commitment to the peers that the deployment names; offers nothing else.
"""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from shadow.adapters.dicom_pump import Pump
from shadow.adapters.dicom_sockets import SECONDS_FOR_A_PDU
from shadow.adapters.dicom_stream import HardServer
from shadow.adapters.instance_counts import InstanceCounts
from shadow.adapters.library_logs import silence_libraries
from shadow.adapters.mutual_tls import client_context, server_context
from shadow.adapters.receiver_processes import HelperProcesses
from shadow.adapters.storage_commitment import CommitmentDesk
from shadow.domain.clock import Clock
from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.archive import Archive
from shadow.index_test.arrival import (
    Arrival,
    AssociationRejected,
    InstanceRefused,
    InstanceShed,
    Report,
    uids_of_plain_head,
)
from shadow.index_test.early_start import EarlyStart
from shadow.index_test.inlet import Incoming, Inlet, Offer, Receipt
from shadow.index_test.mirror import Mirror
from shadow.index_test.mirror_worker import MirrorWorker
from shadow.index_test.spool import Spool
from shadow.index_test.spool_index import SpoolIndex
from shadow.protocol.deployment import Implementation, OnFull, Receiver
from shadow.protocol.site import Site
from shadow.store.events import Event
from shadow.store.queue import WorkQueue

log = logging.getLogger(__name__)

MAXIMUM_PDU_BYTES = 131_072
SECONDS_TO_ASSOCIATE = 10
SECONDS_TO_CLOSE = 1.0
CONNECTIONS_BEYOND_ASSOCIATIONS = 32
SECONDS_BETWEEN_LOOKS = 0.1

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
STATUS = {
    Receipt.STORED: SUCCESS,
    Receipt.NO_SPACE: OUT_OF_RESOURCES,
    Receipt.TOO_LARGE: OUT_OF_RESOURCES,
    Receipt.WRITE_FAILED: OUT_OF_RESOURCES,
    Receipt.INVALID_UID: CANNOT_UNDERSTAND,
    Receipt.EMPTY: CANNOT_UNDERSTAND,
    Receipt.CUT: CANNOT_UNDERSTAND,
}
"""C-STORE response statuses, PS3.4 table B.2-1."""
REFUSED_AGAIN = frozenset({Receipt.TOO_LARGE, Receipt.INVALID_UID, Receipt.EMPTY})
"""The instance itself is why, so that its sender may give it up."""


class StorageScp:
    """Listens for associations of the listed AE titles and writes what they send to the spool.

    Args:
        settings: address and limits; port 0 lets the system choose one.
        calling_ae_titles: who may associate.
        spool: where objects are written.
        report: told of each acknowledged instance and refused association, from the association's thread.
        home: what relative paths of certificates start from.
        commitments: takes requests for storage commitment; None refuses them at association.

    Raises:
        SetupError: the address cannot be bound, a certificate cannot be read, or nobody may send.
    """

    def __init__(
        self,
        settings: Receiver,
        calling_ae_titles: Sequence[str],
        spool: Inlet,
        report: Callable[[Report], None],
        home: Path = Path(),
        commitments: CommitmentDesk | None = None,
    ) -> None:
        if not calling_ae_titles:
            raise SetupError("no site file lists a calling AE title; nobody could send a study")
        self._spool = spool
        self._report = report
        self._sheds = settings.on_full is OnFull.SHED
        _configure_pynetdicom()
        self._entity = _application_entity(settings, calling_ae_titles)
        tls = server_context(settings.tls, home, "receiver.tls") if settings.tls else None
        handlers: list[tuple[Any, Callable[[Any], Any]]] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_FSM_TRANSITION, self._turned),
        ]
        if commitments is not None:
            self._entity.add_supported_context(StorageCommitmentPushModel)
            handlers.append((evt.EVT_N_ACTION, commitments.take))
        reads_itself = settings.implementation is Implementation.STREAMING and tls is None
        self._pump = Pump(self) if reads_itself else None
        try:
            self._server = self._entity.make_server(
                (settings.host, settings.port),
                evt_handlers=handlers,
                server_class=_server_class(settings, tls, self, self._pump, self._refused),
            )
        except OSError as error:
            if self._pump is not None:
                self._pump.close()
            raise SetupError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
        self._entity._servers.append(self._server)  # as start_server does, which takes no server class
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(SECONDS_BETWEEN_LOOKS,), name="storage-scp", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> StorageScp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Refuse new associations and abort the open ones: their senders keep what was not acknowledged."""
        self._server.shutdown()
        end = time.monotonic() + SECONDS_TO_CLOSE
        while (associations := self._server.active_associations) and time.monotonic() < end:
            for association in associations:  # asked each time: one may just have been accepted
                if association.is_established:  # before, there is nobody to tell
                    association.abort(block=False)
            time.sleep(0.01)
        for association in associations:  # a peer in the midst of an object does not hear the abort
            stream = association.dul.socket and association.dul.socket.socket
            if association.is_alive() and stream is not None:
                with suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        if self._pump is not None:
            self._pump.close()

    def open_sink(
        self, association: Any, sop_class_uid: str, sop_instance_uid: str, abstract_syntax: str, transfer_syntax: str
    ) -> _Sink:
        """A sink for an object that is about to come."""
        return _Sink(self, association, sop_class_uid, sop_instance_uid, abstract_syntax, transfer_syntax)

    def _store(self, event: evt.Event) -> int:
        """What stock pynetdicom calls when it has an object whole."""
        request, context = event.request, event.context
        sink = self.open_sink(
            event.assoc,
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID or ""),
            str(context.abstract_syntax),
            str(context.transfer_syntax),
        )
        sink.write(request.DataSet.getbuffer() if request.DataSet else memoryview(b""))
        (status,) = self.finish([sink])
        sink.answered()
        return status

    def begin(self, offer: Offer) -> Incoming:
        """An object of the spool that is about to come."""
        return self._spool.begin(offer)

    def finish(self, sinks: Sequence[_Sink]) -> list[int]:
        """Make objects that have come whole durable, together; what their peers are told."""
        self._spool.finish([sink.incoming for sink in sinks if sink.incoming is not None])
        return [
            DATA_SET_DOES_NOT_MATCH_SOP_CLASS if sink.incoming is None else self._status_of(sink.incoming.receipt)
            for sink in sinks
        ]

    def _status_of(self, receipt: Receipt) -> int:
        if receipt is Receipt.STORED:
            return SUCCESS
        log.warning("object_refused", extra={"receipt": receipt.value})
        return SUCCESS if self._is_shed(receipt) else STATUS[receipt]

    def done(self, association: Any, calling_ae_title: str, incoming: Incoming) -> None:
        """Report what became of an object."""
        if incoming.receipt is Receipt.STORED:
            uids = uids_of_plain_head(incoming.head)
            self._report(Arrival(calling_ae_title, incoming.name, time.monotonic(), association.is_alive, uids))
        elif self._is_shed(incoming.receipt):
            self._report(InstanceShed(calling_ae_title))
        elif incoming.receipt in REFUSED_AGAIN:
            self.refuse(calling_ae_title, incoming.sop_instance_uid, incoming.receipt.value)

    def refuse(self, calling_ae_title: str, sop_instance_uid: str, reason: str) -> None:
        """Report an object that was refused for what it is."""
        self._report(InstanceRefused(calling_ae_title, sop_instance_uid, reason))

    def _is_shed(self, receipt: Receipt) -> bool:
        return receipt is Receipt.NO_SPACE and self._sheds

    def _refused(self, reason: str) -> None:
        self._report(AssociationRejected("", reason))

    def _turned(self, event: evt.Event) -> None:
        """Count what pynetdicom's state machine refuses by itself, before anybody is asked (PS3.8 table 9-10)."""
        if (event.current_state, event.next_state) == ("Sta2", "Sta13"):
            self._refused("not_understood")

    def _rejected(self, event: evt.Event) -> None:
        requestor = event.assoc.requestor
        title = str(requestor.ae_title).strip()
        if title not in self._entity.require_calling_aet:
            reason = "calling_ae_title"
        elif str(requestor.primitive.called_ae_title).strip() != self._entity.ae_title:
            reason = "called_ae_title"
        else:
            reason = "too_many_associations"
        self._report(AssociationRejected(title, reason))


def run_mirror(
    settings: Receiver,
    home: Home,
    sites: Sequence[Site],
    pseudonymiser: Pseudonymiser,
    clock: Clock,
    record: Callable[[Sequence[Event]], object],
    ready: Callable[[], None],
    archives: Mapping[str, Archive] | None = None,
    early: EarlyStart | None = None,
) -> None:
    """Receive, sort and close studies until SIGTERM or SIGINT; call from the main thread.

    Args:
        settings: address, limits and quiet period.
        home: the trial's folder.
        sites: their calling AE titles are the only ones accepted.
        pseudonymiser: gives the study keys.
        clock: the trial's clock.
        record: appends events to the ledger.
        ready: called once the port is open.
        archives: by calling AE title, those that are asked how many instances a quiet study has.
        early: tells of a growing study that it holds what the models need; None waits for whole studies.

    Raises:
        SetupError: the port or the spool is taken, or no site lists a calling AE title.
    """
    silence_libraries()
    titles = tuple(sorted({title.strip() for site in sites for title in site.calling_ae_titles}))
    inbox: Queue[Report] = Queue()
    with (
        ExitStack() as stack,
        _stop_signals() as stopping,
        Spool(
            home.spool,
            titles,
            minimum_free_bytes=settings.minimum_free_bytes,
            maximum_object_bytes=settings.maximum_object_bytes,
        ) as spool,
    ):
        admission = WorkQueue(home.queues / "admission")
        index = stack.enter_context(SpoolIndex(home.spool))
        counts = InstanceCounts(archives or {})
        lacks = counts.lacks if archives else None
        if archives:
            asking = threading.Thread(target=counts.ask_until, args=(stopping,), name="instance-counts")
            asking.start()
            stack.callback(asking.join)
        quiet = settings.quiet_period_seconds
        mirror = Mirror(spool, admission, pseudonymiser, clock, quiet, record, index, lacks, early)
        worker = MirrorWorker(mirror, inbox, record)
        desk = commitment_desk(settings, home.root)
        if desk is not None:  # a router that does not answer must not hold up the sorting
            answering = threading.Thread(target=desk.answer_until, args=(index, stopping), name="storage-commitment")
            answering.start()
            stack.callback(answering.join)
        stack.callback(stopping.set)  # whatever ends this, ends the threads before they are waited for
        with (
            HelperProcesses(settings, titles, home.root, inbox.put),
            StorageScp(settings.share, titles, spool, inbox.put, home.root, desk),
        ):
            ready()
            while not stopping.is_set():
                worker.work(SECONDS_BETWEEN_LOOKS)
                index.write()
        worker.finish()
        # What was acknowledged while stopping lies in the spool; the next start sorts it.


class _Sink:
    """One C-STORE request on its way to the spool."""

    __slots__ = ("_association", "_calling_ae_title", "_scp", "_sop_instance_uid", "incoming")

    def __init__(
        self,
        scp: StorageScp,
        association: Any,
        sop_class_uid: str,
        sop_instance_uid: str,
        abstract_syntax: str,
        transfer_syntax: str,
    ) -> None:
        self._scp, self._association, self._sop_instance_uid = scp, association, sop_instance_uid
        self._calling_ae_title = str(association.requestor.ae_title).strip()
        self.incoming: Incoming | None = None
        if sop_class_uid == abstract_syntax:
            self.incoming = scp.begin(Offer(self._calling_ae_title, sop_class_uid, sop_instance_uid, transfer_syntax))

    def write(self, fragment: memoryview) -> None:
        if self.incoming is not None:
            self.incoming.write(fragment)

    def answered(self) -> None:
        if self.incoming is not None:
            self._scp.done(self._association, self._calling_ae_title, self.incoming)
        else:
            self._scp.refuse(self._calling_ae_title, self._sop_instance_uid, "sop_class_differs_from_context")

    def discard(self) -> None:
        if self.incoming is not None:
            self.incoming.discard()


def _server_class(
    settings: Receiver, tls: ssl.SSLContext | None, scp: StorageScp, pump: Pump | None, refused: Callable[[str], None]
) -> type[HardServer]:
    class Server(HardServer):
        allowed = tuple(ipaddress.ip_network(one) for one in settings.allowed_addresses)
        shares_its_port = settings.processes > 1
        maximum_connections = settings.maximum_associations + CONNECTIONS_BEYOND_ASSOCIATIONS
        seconds_for_a_pdu = min(SECONDS_FOR_A_PDU, settings.idle_seconds)

    Server.tls = tls
    Server.refused = staticmethod(refused)
    Server.storage = scp if settings.implementation is Implementation.STREAMING else None
    Server.pump = pump
    return Server


def _application_entity(settings: Receiver, calling_ae_titles: Sequence[str]) -> AE:
    entity = AE(settings.ae_title)
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    entity.maximum_associations = settings.maximum_associations
    entity.acse_timeout = min(SECONDS_TO_ASSOCIATE, settings.idle_seconds)
    entity.dimse_timeout = settings.idle_seconds
    entity.network_timeout = settings.idle_seconds
    entity.require_called_aet = True
    entity.require_calling_aet = list(calling_ae_titles)
    entity.add_supported_context(Verification)
    return entity


def commitment_desk(settings: Receiver, home: Path) -> CommitmentDesk | None:
    """Who takes requests for storage commitment; nobody where the deployment names no peer."""
    if not settings.commitment_peers:
        return None
    tls = client_context(settings.tls, home, "receiver.tls") if settings.tls else None
    return CommitmentDesk(settings.ae_title, settings.commitment_peers, home / "spool", tls)


def _configure_pynetdicom() -> None:
    # Any storage SOP class in the sender's own transfer syntax, and 3 ms an association instead of 40.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    # What is no UID costs its instance, which the inlet refuses, and not the association.
    _config.VALIDATORS = _config.VALIDATORS | {"UI": lambda _: (True, "")}
    _config.LOG_HANDLER_LEVEL = "none"


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
