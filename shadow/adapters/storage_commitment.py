"""The Storage Commitment Push Model SCP (PS3.4 annex J): requests in by N-ACTION, answers out by N-EVENT-REPORT.

The answer goes to the router that asked, at the address that the deployment file gives it, on an association of
its own. It holds the UIDs of the request and nothing else: it is the one thing that the receiver ever sends.
"""

from __future__ import annotations

import logging
import sqlite3
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from shadow.adapters.dicom_peer import close_refused, is_listening
from shadow.domain.errors import StoreError
from shadow.index_test.commitment import CommitmentAnswer, CommitmentRequest, Commitments
from shadow.index_test.rewriting import PYDICOM_ERRORS
from shadow.index_test.spool_index import SpoolIndex
from shadow.protocol.deployment import CommitmentPeer

log = logging.getLogger(__name__)

SUCCESS, PROCESSING_FAILURE, NO_SUCH_ACTION, INVALID_ARGUMENT, NOT_AUTHORISED = 0x0000, 0x0110, 0x0123, 0x0115, 0x0124
"""N-ACTION response statuses, PS3.7 section 10.1.4.1.10."""
REQUEST_STORAGE_COMMITMENT, ALL_COMMITTED, SOME_FAILED = 1, 1, 2
SECONDS_FOR_AN_ASSOCIATION = 10
SECONDS_BETWEEN_LOOKS = 0.2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 300.0
SECONDS_UNTIL_GIVEN_UP = 86_400.0


class CommitmentDesk:
    """Takes requests from any association's thread, and answers them in the thread that calls `answer_until`.

    Args:
        ae_title: ours.
        peers: who may ask, and where they listen.
        spool: the spool's folder.
        tls: for the answers' associations; None without.
    """

    def __init__(
        self, ae_title: str, peers: Sequence[CommitmentPeer], spool: Path, tls: ssl.SSLContext | None = None
    ) -> None:
        self._ae_title = ae_title
        self._peers = {one.ae_title: one for one in peers}
        self._requests = Commitments(spool)
        self._tls = tls
        self._pauses: dict[Path, tuple[float, float]] = {}

    def take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """The handler of N-ACTION: its status, once the request would survive a power cut."""
        calling_ae_title = str(event.assoc.requestor.ae_title).strip()
        if calling_ae_title not in self._peers:
            return NOT_AUTHORISED, None
        if event.request.ActionTypeID != REQUEST_STORAGE_COMMITMENT:
            return NO_SUCH_ACTION, None
        try:
            self._requests.accept(_request_of(calling_ae_title, event.action_information))
        except OSError:
            return PROCESSING_FAILURE, None
        except PYDICOM_ERRORS:
            return INVALID_ARGUMENT, None
        return SUCCESS, None

    def answer_until(self, index: SpoolIndex, stopping: threading.Event) -> None:
        """Answer requests until told to stop; nothing that goes wrong with one ends it."""
        while not stopping.wait(SECONDS_BETWEEN_LOOKS):
            try:
                self._answer_all(index)
            except (OSError, RuntimeError, ValueError, sqlite3.Error) as error:
                log.error("storage_commitment_waits", extra={"error": type(error).__name__})

    def _answer_all(self, index: SpoolIndex) -> None:
        """Answer every request whose time has come; one that cannot be answered now comes again later.

        A peer that was not reached, or says nothing, is not tried again for its other requests: the others would wait
        for it each time.
        """
        away: set[str] = set()
        for path in self._requests.waiting():
            next_at, pause = self._pauses.get(path, (0.0, FIRST_PAUSE_SECONDS))
            if time.monotonic() < next_at:
                continue
            try:
                answer = self._requests.answer(path, index)
                if answer is None:
                    continue
                peer = answer.request.calling_ae_title
                delivered = None if peer in away else self._deliver(answer)
                if delivered is None:
                    away.add(peer)
            except StoreError as error:
                log.error("commitment_request_damaged", extra={"error": str(error)})
                delivered = True
            except OSError as error:  # one folder's disk refuses; the other requests are of other folders
                log.error("storage_commitment_waits", extra={"error": type(error).__name__})
                delivered = False
            if delivered or time.time() - path.stat().st_mtime > SECONDS_UNTIL_GIVEN_UP:
                log.log(logging.INFO if delivered else logging.ERROR, "commitment_%s", "told" if delivered else "lost")
                self._requests.done(path)
                self._pauses.pop(path, None)
            else:
                self._pauses[path] = (time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE_SECONDS))

    def _deliver(self, answer: CommitmentAnswer) -> bool | None:
        """Whether the peer has taken the answer; None where it was not reached, or said nothing to it."""
        peer = self._peers.get(answer.request.calling_ae_title)
        if peer is None:
            return True  # it is no longer to be told anything
        if not is_listening(peer.host, peer.port, SECONDS_FOR_AN_ASSOCIATION):
            return None
        entity = AE(self._ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS_FOR_AN_ASSOCIATION
        entity.connection_timeout = SECONDS_FOR_AN_ASSOCIATION
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
            tls_args=(self._tls, peer.host) if peer.tls and self._tls else None,
        )
        if not association.is_established:
            close_refused(association)
            return None
        try:
            status, _ = association.send_n_event_report(
                _information(answer),
                SOME_FAILED if answer.failed else ALL_COMMITTED,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
            return bool(status.Status == SUCCESS) if "Status" in status else None
        except (ValueError, RuntimeError):
            return False
        finally:
            if association.is_established:
                association.release()


def _request_of(calling_ae_title: str, information: Dataset) -> CommitmentRequest:
    references = tuple(
        (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID)) for one in information.ReferencedSOPSequence
    )
    return CommitmentRequest(calling_ae_title, str(information.TransactionUID), references)


def _information(answer: CommitmentAnswer) -> Dataset:
    """Event Information (PS3.4 table J.3-2)."""
    information = Dataset()
    information.TransactionUID = UID(answer.request.transaction_uid)
    if answer.committed:
        information.ReferencedSOPSequence = DicomSequence([_reference(*one) for one in answer.committed])
    if answer.failed:
        information.FailedSOPSequence = DicomSequence([_reference(*one) for one in answer.failed])
    return information


def _reference(sop_class_uid: str, sop_instance_uid: str, failure_reason: int | None = None) -> Any:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(sop_class_uid)
    item.ReferencedSOPInstanceUID = UID(sop_instance_uid)
    if failure_reason is not None:
        item.FailureReason = failure_reason
    return item
