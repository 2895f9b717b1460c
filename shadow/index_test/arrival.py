"""What the receiver reports, and the little that must be read of an instance to know its study."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from shadow.domain.errors import UnreadableInstance
from shadow.index_test.completion import AssociationIsOpen
from shadow.index_test.spool import is_uid

SOP_INSTANCE_UID = BaseTag(0x00080018)
STUDY_INSTANCE_UID = BaseTag(0x0020000D)

HOSTILE_FILE_ERRORS = (
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    NotImplementedError,
    BytesLengthException,
    InvalidDicomError,
    OSError,
    RecursionError,
    MemoryError,
)
"""What pydicom 3.0 was seen to raise on damaged and hostile files."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One acknowledged instance.

    Attributes:
        calling_ae_title: who sent it.
        file: its name in the spool's folder of that AE title.
        at: monotonic seconds at which it became durable.
        association_is_open: whether the association that brought it is still open; None after a restart.
    """

    calling_ae_title: str
    file: str
    at: float
    association_is_open: AssociationIsOpen | None = None


@dataclass(frozen=True, slots=True)
class AssociationRejected:
    """An association that was refused.

    Attributes:
        calling_ae_title: as the peer gave it, unchecked.
        reason: stable code: `calling_ae_title`, `called_ae_title` or `too_many_associations`.
    """

    calling_ae_title: str
    reason: str


Report = Arrival | AssociationRejected
"""What the receiver tells the mirror."""


def read_study_instance_uid(path: Path, sop_instance_uid: str) -> str:
    """The Study Instance UID (0020,000D) of a file; nothing behind it is read.

    Raises:
        OSError: the file cannot be opened.
        UnreadableInstance: it is no DICOM data set, has no usable Study Instance UID, or holds another
            SOP Instance UID (0008,0018) than the command that brought it.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values and the file's name
        try:
            dataset = read_partial(
                file,
                stop_when=lambda tag, vr, length: tag > STUDY_INSTANCE_UID,  # noqa: ARG005 (pydicom's signature)
                specific_tags=[SOP_INSTANCE_UID, STUDY_INSTANCE_UID],
            )
            found_sop, found_study = (
                _plain_uid(dataset.get_item(tag)) for tag in (SOP_INSTANCE_UID, STUDY_INSTANCE_UID)
            )
        except HOSTILE_FILE_ERRORS as error:
            raise UnreadableInstance("undecodable_data_set", type(error).__name__) from error
    if found_sop != sop_instance_uid:
        raise UnreadableInstance("sop_instance_uid_differs_from_command")
    if not found_study:
        raise UnreadableInstance("no_study_instance_uid")
    if not is_uid(found_study):
        raise UnreadableInstance("invalid_study_instance_uid")
    return found_study


def _plain_uid(element: object) -> str:
    # The raw value: decoding it through pydicom would warn about values that are judged here anyway.
    value = getattr(element, "value", None)
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ")
