"""What a report feed carries beside reports: merges of patients, orders, and messages of no use here."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from test_report_reception import Bench, bench, message  # noqa: F401 (bench is a fixture)

from shadow.domain.hl7 import parse_message
from shadow.reference_standard.order import OrderState, ParsedOrder, parse_orders
from shadow.store.events import Kind

ZONE = ZoneInfo("America/New_York")
HEAD = r"MSH|^~\&|RIS|RIVERSIDE|SHADOW|SHADOW|20260824120000||{kind}|C1|P|2.5.1"


def lines(kind: str, *segments: str) -> bytes:
    return "\r".join((HEAD.format(kind=kind), *segments, "")).encode()


def orders(*segments: str) -> list[ParsedOrder]:
    parsed = parse_orders(parse_message(lines("ORM^O01", *segments), "latin-1"), ZONE)
    return [one for one in parsed if isinstance(one, ParsedOrder)]


def test_a_merge_moves_the_key_that_reports_of_the_patient_have(bench: Bench) -> None:  # noqa: F811
    merge = lines("ADT^A40^ADT_A39", "PID|||NEW^^^RIVERSIDE^MR", "MRG|OLD^^^RIVERSIDE^MR")
    bench.arrive(message("C1", "R1"), merge, merge)
    found = bench.drain()
    assert (found.versions, found.quarantined) == (1, 0)
    (link,) = bench.bodies(Kind.LINK)
    assert (link["what"], link["source"], link["active"]) == ("patient", "adt_merge", True)
    assert str(link["from_key"]).startswith("P") and link["from_key"] != link["to_key"]
    assert "OLD" not in str(link) and "NEW" not in str(link)


def test_several_merges_in_one_message_each_take_the_patient_before_them(bench: Bench) -> None:  # noqa: F811
    merge = lines("ADT^A40", "PID|||ONE", "MRG|TWO", "PID|||THREE", "MRG|FOUR~FIVE^^^X^MR", "MRG|THREE")
    bench.arrive(merge)
    bench.drain()
    keys = bench.patient_keys("ONE", "TWO", "THREE", "FIVE")
    links = [(link["from_key"], link["to_key"]) for link in bench.bodies(Kind.LINK)]
    assert links == [(keys["TWO"], keys["ONE"]), (keys["FIVE"], keys["THREE"])]


@pytest.mark.parametrize(
    ("payload", "action", "detail"),
    [
        (lines("ADT^A40", "PID|||ONE"), "message_quarantined", "no_merge"),
        (lines("ADT^A08", "PID|||ONE"), "message_not_used", "adt_without_merge"),
        (lines("ORM^O01", "PID|||ONE"), "message_quarantined", "no_order"),
        (lines("ORM^O01", "ORC|NW"), "message_quarantined", "no_accession_number"),
    ],
)
def test_a_message_that_says_nothing_usable_is_counted(
    bench: Bench, payload: bytes, action: str, detail: str  # noqa: F811
) -> None:  # fmt: skip
    bench.arrive(payload)
    bench.drain()
    (entry,) = bench.bodies(Kind.AUDIT)
    assert (entry["action"], entry["detail"]) == (action, detail)


def test_an_order_is_kept_without_its_words_and_joins_the_reports_accession(bench: Bench) -> None:  # noqa: F811
    order = lines(
        "ORM^O01", "PID|||84736251", "ORC|NW||R00001234", "OBR|1||R00001234|CTH^CT HEAD W/O CONTRAST^L||||||||||||||"
    )
    bench.arrive(order, message("C2", "r1234"))
    bench.drain()
    (kept,), (version,) = bench.bodies(Kind.IMAGING_ORDER), bench.bodies(Kind.REPORT_VERSION)
    assert kept["accession_key"] == version["accession_key"]
    assert kept["admitted"] is True and kept["state"] == "active"
    assert "HEAD" not in str(kept) and "1234" not in str(kept).replace(str(kept["order_key"]), "")


def test_the_ways_to_cancel_an_order_and_where_its_accession_and_time_stand() -> None:
    (one,) = orders("ORC|NW||F1||||^^^20260825103000", "OBR|1|P1|F1|CTH^CT HEAD|||||||||||||| A77 ")
    assert (one.accession_number, one.state) == ("A77", OrderState.ACTIVE)
    assert one.planned_at is not None and one.planned_at.isoformat() == "2026-08-25T14:30:00+00:00"
    (omi,) = orders("ORC|NW||F1", "TQ1|1||||||20260826080000-0400", "OBR|1|P1|F1|CTH^CT HEAD", "IPC|ACC9|RP1|1.2.3")
    assert omi.accession_number == "ACC9"
    assert omi.planned_at is not None and omi.planned_at.hour == 12
    for cancelling in ("ORC|CA||F1", "ORC|OC||F1", "ORC|DC||F1", "ORC|SC||F1||CA"):
        assert [one.state for one in orders(cancelling)] == [OrderState.CANCELLED]
    assert [one.state for one in orders("ORC|ZZ||F1")] == [OrderState.UNKNOWN]
    both = orders("ORC|NW||F1", "OBR|1||F1|A", "ORC|NW||F2", "OBR|2||F2|B")
    assert [(one.number, one.accession_number, one.procedure.strip()) for one in both] == [
        (1, "F1", "A"),
        (2, "F2", "B"),
    ]
