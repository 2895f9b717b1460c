"""What the hospital knows and the harness must not: one JSON line a study and message, for tests alone."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from shadow.rehearsal.messages import hl7_time
from shadow.rehearsal.plan import HospitalPlan, MessageKind, PlannedMessage, PlannedStudy, shift_name


class TruthFile:
    """Written whole before anything is sent; then one line for each thing acknowledged."""

    def __init__(self, path: Path, plan: HospitalPlan) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        messages: dict[int, list[PlannedMessage]] = {}
        for message in plan.messages:
            if message.study is not None:
                messages.setdefault(message.study.number, []).append(message)
        lines = [_study(study, messages.get(study.number, [])) for study in plan.studies]
        lines += [_message(message) for message in plan.messages]
        self._lock = threading.Lock()
        self._file = path.open("w", encoding="utf-8")
        self._file.write("".join(json.dumps(line) + "\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def acknowledged(self, what: str, name: str) -> None:
        """Note that a study (by its UID) or a message (by its control ID) was acknowledged."""
        with self._lock:
            self._file.write(json.dumps({"kind": f"{what}_acknowledged", "name": name}) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _study(study: PlannedStudy, messages: list[PlannedMessage]) -> dict[str, object]:
    return {
        "kind": "study",
        "study_instance_uid": study.study_instance_uid,
        "accession_number": study.accession_number,
        "patient_id": study.identity.patient_id,
        "patient_name": study.identity.name,
        "site": study.site.identifier,
        "station": study.station.name,
        "physics": study.physics.model_name,
        "arrival": study.arrival.isoformat(),
        "shift": shift_name(study.site, study.arrival),
        "age_years": study.patient.age_years,
        "ineligible": study.ineligible,
        "defect": study.defect,
        "bleed": study.patient.bleed,
        "verdict": study.verdict,
        "final_report_sent": any(message.kind is MessageKind.FINAL for message in messages),
        "report_sent": bool(messages),
    }


def _message(message: PlannedMessage) -> dict[str, object]:
    return {
        "kind": "message",
        "control_id": message.control_id,
        "message_kind": message.kind,
        "repeat": message.repeat,
        "site": message.site.identifier,
        "result_status": message.result_status,
        "accession_number": message.accession_number,
        "due": hl7_time(message.due, message.site),
        "final": message.result_status in ("F", "C") and message.kind is not MessageKind.JUNK,
    }
