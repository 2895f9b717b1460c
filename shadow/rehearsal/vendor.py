"""A vendor's product in the simulated hospital: it reads every head CT on its own and sends HL7 results by MLLP.

It looks at the planted truth instead of the pixels, misses some everywhere alike, and knows nothing of scanners: where
the champion fails on one scanner, this one does not.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import numpy as np

from shadow.rehearsal.messages import hl7_time
from shadow.rehearsal.plan import PlannedStudy
from shadow.rehearsal.wires import InterfaceEngine

PRODUCT = "SIMULATED-ICH"
FINDS, FLAGS_FOR_NOTHING, SILENT, FAILS = 0.88, 0.06, 0.01, 0.01
POLL_SECONDS = 0.1


def result_bytes(study: PlannedStudy) -> bytes | None:
    """The product's ORU^R01 for one study, the same for the same study; None where it sends nothing."""
    chance = np.random.default_rng((study.pixel_seed, 88))
    fate, draw = chance.random(2)
    if fate < SILENT:
        return None
    bleeding = study.patient.bleed is not None
    positive = draw < (FINDS if bleeding else FLAGS_FOR_NOTHING)
    score = float(np.clip(chance.beta(6, 2) if positive else chance.beta(1.5, 8), 0.001, 0.999))
    site, at = study.site, hl7_time(study.arrival, study.site)
    order = f"{study.accession_number}^{site.facility}"
    values = (
        [("ICH", "ST", "ERROR")]
        if fate < SILENT + FAILS
        else [("ICH", "ST", "POS" if positive else "NEG"), ("ICH-PROB", "NM", f"{score:.4f}")]
    )
    segments = [
        f"MSH|^~\\&|{PRODUCT}|{site.facility}|SHADOW|TRIAL|{at}||ORU^R01^ORU_R01|V{study.number:07d}|P|2.5.1",
        f"PID|1||{study.identity.patient_id}^^^{site.facility}^MR",
        f"OBR|1|{order}|{order}|AI-ICH^AI RESULT^L|||{at}|||||||||||{study.accession_number}|||||||F",
        *(
            f"OBX|{number}|{kind}|{code}^{code}^L||{value}||||||F"
            for number, (code, kind, value) in enumerate(values, 1)
        ),
    ]
    return ("\r".join(segments) + "\r").encode()


class SimulatedProduct:
    """Sends the result of each study soon after its last image, one after the other, until acknowledged."""

    def __init__(self, host: str, port: int, stopped: Callable[[], bool]) -> None:
        self._address = (host, port)
        self._stopped = stopped
        self._waiting: queue.Queue[PlannedStudy] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def read(self, study: PlannedStudy) -> None:
        """Take a study whose images are out."""
        self._waiting.put(study)

    @property
    def done(self) -> bool:
        """Whether every result is out."""
        return self._waiting.unfinished_tasks == 0

    def _run(self) -> None:
        engine = InterfaceEngine(*self._address)
        while not self._stopped():
            try:
                study = self._waiting.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            message = result_bytes(study)
            if message is not None:
                engine.send(message, self._stopped)
            self._waiting.task_done()
        engine.close()
