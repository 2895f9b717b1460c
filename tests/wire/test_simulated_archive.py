"""The simulated hospital's archive, asked by the harness over a real association about every day of its calendar."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from shadow.adapters.dicom_query import DimseArchive
from shadow.protocol.deployment import ArchivePeer
from shadow.rehearsal.archive import ARCHIVES, SimulatedArchive, unrouted_studies
from shadow.rehearsal.plan import plan_hospital
from shadow.supervision.ports import free_ports
from shadow.supervision.rehearsal_command import FIRST_DAY

pytestmark = pytest.mark.server


def test_every_day_of_both_sites_is_answered_with_what_was_sent_and_what_was_not() -> None:
    plan = plan_hospital(11, 130, 12, FIRST_DAY)
    lost = unrouted_studies(plan)
    assert lost and not {one.study_instance_uid for one in lost} & {one.study_instance_uid for one in plan.studies}
    (port,) = free_ports((11104,))
    archive = SimulatedArchive(plan, "127.0.0.1", port)
    try:
        found: set[str] = set()
        for title, site in ARCHIVES.items():
            peer = DimseArchive("SHADOW", ArchivePeer(site, title, "127.0.0.1", port))
            for number in range(86):
                found |= {
                    one.study_instance_uid for one in peer.studies_of(date(2026, 8, 23) + timedelta(number), "CT")
                }
        assert found == {one.study_instance_uid for one in (*plan.studies, *lost)}
        assert peer.station_name(lost[0].study_instance_uid, "CT") == "HSCT2"
    finally:
        archive.close()
