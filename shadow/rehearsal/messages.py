"""Reports as the hospital's interface engine sends them: HL7 v2.5.1 ORU^R01 (chapter 7), and some junk."""

from __future__ import annotations

from datetime import datetime

from shadow.rehearsal.plan import READERS, HospitalSite, MessageKind, PlannedMessage, Verdict
from shadow.rehearsal.wording import addendum_lines, report_lines

ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}


def message_bytes(message: PlannedMessage) -> bytes:
    """The message without its MLLP frame, segments ended by CR, UTF-8."""
    if message.kind is MessageKind.JUNK:
        return _junk(message)
    return ("\r".join(_segments(message)) + "\r").encode()


def hl7_time(instant: datetime, site: HospitalSite) -> str:
    """A timestamp with its offset (HL7 2.A.22), in the site's zone."""
    return instant.astimezone(site.zone).strftime("%Y%m%d%H%M%S%z")


def _segments(message: PlannedMessage) -> list[str]:
    site, study = message.site, message.study
    due = hl7_time(message.due, site)
    observed = hl7_time(study.arrival, site) if study else due
    reader = READERS[message.wording_seed % len(READERS)]
    if study is not None:
        identity = study.identity
        person = f"{identity.patient_id}^^^{site.facility}^MR||{_escaped(identity.name, keep='^')}||"
        person += f"{identity.birth_date:%Y%m%d}|{identity.sex}"
    else:
        person = f"{site.facility[:2]}000000^^^{site.facility}^MR||Walkin^Patient||19700101|F"
    lines = addendum_lines(message) if message.kind is MessageKind.ADDENDUM else report_lines(message)
    if message.kind is MessageKind.CORRECTION:
        lines = [*lines, *addendum_lines(message)]
    event = "ORU^R01^ORU_R01"
    order = f"{message.accession_number}^{site.facility}"
    results = "|".join([
        "OBR", "1", order, order, "CTHEAD^CT HEAD WITHOUT CONTRAST^L", "", "", observed, "", "", "", "", "", "", "", "",
        "", "", message.accession_number, "", "", "", due, "", "CT", message.result_status, "", "", "", "", "", "",
        f"1234&{reader}&Ada",
    ])  # fmt: skip
    return [
        f"MSH|^~\\&|RIS|{site.facility}|SHADOW|TRIAL|{due}||{event}|{message.control_id}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{person}",
        f"PV1|1|{'I' if study is not None and study.setting == 'inpatient' else 'E'}",
        f"ORC|RE|{order}|{order}",
        results,
        *(
            f"OBX|{number}|TX|REPORT^Report text^L||{_escaped(line)}||||||{message.result_status}"
            for number, line in enumerate(lines, 1)
        ),
    ]


def _escaped(text: str, keep: str = "") -> str:
    return "".join(one if one in keep else ESCAPES.get(one, one) for one in text)


def _junk(message: PlannedMessage) -> bytes:
    """By turns: no HL7 at all, another message type, a report without an accession number."""
    due = hl7_time(message.due, message.site)
    head = f"MSH|^~\\&|RIS|{message.site.facility}|SHADOW|TRIAL|{due}||"
    match message.wording_seed % 3:
        case 0:
            return b"\x00\x01 PING from the interface engine's monitor \xff"
        case 1:
            return f"{head}ADT^A08|{message.control_id}|P|2.5.1\rEVN|A08|{due}\r".encode()
        case _:
            body = f"{head}ORU^R01|{message.control_id}|P|2.5.1\rPID|1||1\rOBR|1||||||{due}\r"
            return f"{body}OBX|1|TX|R||{Verdict.ABSENT.value}||||||F\r".encode()
