"""A seeded feed of a thousand messages as three HL7 versions write them, with everything that goes wrong in the wild.

The builder keeps its own truth: of each accession the versions in order with their status, and of every frame what must
be counted. The messages go over a real MLLP connection, the journal and a real ledger.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shadow.adapters.mllp import serve_mllp
from shadow.domain.clock import RehearsalClock
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number
from shadow.domain.project import project_folder
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial
from shadow.reference_standard.report_journal import drain_reports
from shadow.store.blobs import Blobs
from shadow.store.events import Kind
from shadow.store.journal import JournalWriter
from shadow.store.ledger import Ledger

CONFIGS = project_folder("configs")
SITE = read_site(CONFIGS / "sites" / "riverside.toml")
PROTOCOL = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
KEYED = Pseudonymiser(b"k" * 32)
KEY = b"j" * 32
INSTANT = datetime(2026, 8, 24, 16, tzinfo=UTC)
BLEED, NONE = "Acute subdural haematoma.", "No intracranial haemorrhage."
SEED = 20260824


@dataclass
class Feed:
    """Frames to send, and what must come of them.

    Attributes:
        versions: by accession number, (status, final, addendum alone, state) of each version in order.
        quarantined, not_used, replaced: reasons and counts.
    """

    chance: random.Random
    frames: list[bytes] = field(default_factory=list)
    versions: dict[str, list[tuple[str, bool, bool, str]]] = field(default_factory=lambda: defaultdict(list))
    quarantined: Counter[str] = field(default_factory=Counter)
    not_used: int = 0
    replaced: int = 0
    control: int = 0

    def message(
        self,
        accession: str,
        lines: list[tuple[str, str]],
        status: str,
        *,
        version: str = "2.5.1",
        charset: str = "UNICODE UTF-8",
        delimiters: str = "|^~\\&",
        more: str = "",
        kind: str = "ORU^R01",
    ) -> str:
        """One message; `lines` are OBX-5 and OBX-11."""
        self.control += 1
        f, c = delimiters[0], delimiters[1]
        header = f"MSH{delimiters}{f}RIS{f}RIVERSIDE{f}SHADOW{f}TRIAL{f}20260824120000-0400{f}{f}{kind.replace('^', c)}"
        header += f"{f}C{self.control}{f}P{f}{version}{f * 6}{charset}"
        order = f.join(["OBR", "1", f"P{accession}", f"F{accession}", f"CTH{c}CT HEAD"]) + f * 3 + "20260824103000-0400"
        order += f * 11 + accession + f * 4 + "20260824113000-0400" + f * 3 + status
        observations = [f.join(["OBX", str(n), "TX", "R", "", text, "", "", "", "", "", state])
                        for n, (text, state) in enumerate(lines, 1)]  # fmt: skip
        patient = f.join(["PID", "1", "", f"MRN1{c * 3}R{c}MR", "", f"Doe{c}Ada"])
        return "\r".join([header, patient, order, *observations]) + more + "\r"

    def expect(self, accession: str, status: str, state: str, *, addendum_only: bool = False) -> None:
        self.versions[accession].append((status, status in ("F", "C"), addendum_only, state))


def build(count: int) -> Feed:
    feed = Feed(random.Random(SEED))
    chance = feed.chance
    for number in range(count):
        accession = f"R{number + 1:07d}"
        version = chance.choice(["2.3", "2.5.1", "2.8"])
        bleed = chance.random() < 0.4
        text, state = (BLEED, "present") if bleed else (NONE, "absent")
        trap = TRAPS[number % len(TRAPS)]
        for frame in trap(feed, accession, text, state, version):
            feed.frames.append(frame)
    return feed


Frames = Iterator[bytes]


def plain(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "F", state)
    yield feed.message(accession, [("FINDINGS:", "F"), (text, "F")], "F", version=version).encode()


def preliminary_then_final(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    """A resident says one thing, the attending another."""
    feed.expect(accession, "P", "present")
    feed.expect(accession, "F", state)
    yield feed.message(accession, [(BLEED, "P")], "P", version=version).encode()
    yield feed.message(accession, [(text, "F")], "F", version=version).encode()


def obx_decides(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    """OBR-25 says final, a line says that it is not; then the lines alone say that it is."""
    feed.expect(accession, "P", state)
    feed.expect(accession, "F", state)
    yield feed.message(accession, [(text, "P")], "F", version=version).encode()
    yield feed.message(accession, [(text, "F")], "", version=version).encode()


def addendum_with_all(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "F", "absent")
    feed.expect(accession, "C", "present")
    first = [("IMPRESSION:", "F"), (NONE, "F")]
    yield feed.message(accession, first, "F", version=version).encode()
    more = [(line, "C") for line, _ in first] + [("ADDENDUM:", "C"), ("There is a subdural haematoma.", "C")]
    yield feed.message(accession, more, "C", version=version).encode()


def addendum_alone(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "F", state)
    feed.expect(accession, "F", "not_mentioned", addendum_only=True)
    yield feed.message(accession, [(text, "F")], "F", version=version).encode()
    lines = [("ADDENDUM: Findings were telephoned.", "A")]
    feed.versions[accession][-1] = ("C", True, True, "not_mentioned")
    yield feed.message(accession, lines, "F", version=version).encode()


def lines_withdrawn(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    """One line was posted in error; then all are deleted."""
    feed.expect(accession, "F", state)
    feed.expect(accession, "X", "not_mentioned")
    yield feed.message(accession, [(BLEED if state == "absent" else NONE, "W"), (text, "F")], "F").encode()
    yield feed.message(accession, [(text, "D")], "F", version=version).encode()


def other_line_ends(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "F", state)
    end = feed.chance.choice(["\n", "\r\n"])
    yield feed.message(accession, [(text, "F")], "F", version=version).replace("\r", end).encode()


def latin_bytes(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    """ISO-8859-1 bytes: declared by one message, undeclared by the other and called UTF-8 by the third."""
    feed.expect(accession, "F", state)
    which = feed.chance.randrange(3)
    charset = ("8859/1", "", "UNICODE UTF-8")[which]
    feed.replaced += which == 2
    yield feed.message(accession, [(f"{text} Gr\xf6\xdfe.", "F")], "F", charset=charset).encode("latin-1")


def other_delimiters(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "F", state)
    yield feed.message(accession, [(text, "F")], "F", delimiters="$*@!%", version=version).encode()


def escapes(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "F", state)
    escaped = "FINDINGS:\\.br\\\\H\\" + text + "\\N\\ \\T\\ C:\\path \\X0D\\"
    yield feed.message(accession, [(escaped, "F")], "F", version=version).encode()


def batch(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "P", state)
    feed.expect(accession, "F", state)
    inner = "".join(feed.message(accession, [(text, one)], one, version=version) for one in ("P", "F"))
    yield ("FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + inner + "BTS|2\rFTS|1\r").encode()


def duplicate_in_one_frame(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.expect(accession, "F", state)
    one = feed.message(accession, [(text, "F")], "F", version=version)
    yield (one + one).encode()


def sent_again(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    """The acknowledgement was lost: the same again, then with a new time; then the control ID for another report."""
    feed.expect(accession, "F", state)
    one = feed.message(accession, [(text, "F")], "F", version=version)
    yield one.encode()
    yield one.encode()
    yield one.replace("20260824120000-0400", "20260824120107-0400", 1).encode()
    control = feed.control
    feed.expect(accession, "C", "absent")
    other = feed.message(accession, [(NONE + " Corrected.", "C")], "C", version=version)
    yield other.replace(f"|C{feed.control}|", f"|C{control}|").encode()


def several_orders(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    """One report for two accessions: the second order has no lines of its own."""
    feed.expect(accession, "F", state)
    feed.expect(f"{accession}B", "F", state)
    second = f"\rOBR|2|P2|F2|CTN^CT NECK|||20260824103000-0400|||||||||||{accession}B||||20260824113000-0400||CT|F"
    yield feed.message(accession, [(text, "F")], "F", version=version, more=second).encode()


def junk(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.quarantined["not_hl7"] += 1
    yield f"{accession}\x00\x01 PING \xff {version}".encode("latin-1")


def without_an_order(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.quarantined["no_accession_number"] += 1
    yield feed.message("", [(text, "F")], "F", version=version).replace("|F|", "||").replace("|P|CTH", "||CTH").encode()


def training(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.quarantined["not_production"] += 1
    yield feed.message(accession, [(text, "F")], "F", version=version).replace("|P|2", "|T|2").encode()


def a_document_alone(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.quarantined["no_text"] += 1
    yield (
        feed.message(accession, [("^PDF^^Base64^JVBERi0=", "F")], "F", version=version).replace("|TX|", "|ED|").encode()
    )


def of_no_use(feed: Feed, accession: str, text: str, state: str, version: str) -> Frames:
    feed.not_used += 1
    yield feed.message(accession, [], "F", version=version, kind="ADT^A08").encode()


TRAPS = (
    plain, preliminary_then_final, obx_decides, addendum_with_all, addendum_alone, lines_withdrawn, other_line_ends,
    latin_bytes, other_delimiters, escapes, batch, duplicate_in_one_frame, sent_again, several_orders, junk,
    without_an_order, training, a_document_alone, of_no_use,
)  # fmt: skip


async def send(folder: Path, frames: list[bytes]) -> None:
    """Over one connection, framed as senders do: some put bytes before the block, some leave the last CR out."""
    chance = random.Random(SEED)
    with JournalWriter(folder, KEY) as journal:
        clock = RehearsalClock(INSTANT, INSTANT, INSTANT, 1.0)
        server = await serve_mllp("127.0.0.1", 0, journal, clock, maximum_message_bytes=1 << 20, idle_seconds=30.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for frame in frames:
            before = chance.choice([b"", b"", b"\r\n", b"  "])
            after = chance.choice([b"\x1c\r", b"\x1c\r", b"\x1c"])
            writer.write(before + b"\x0b" + frame + after)
            answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
            assert b"|AA|" in answer or b"$AA$" in answer
        writer.close()
        await server.close()


@pytest.fixture(scope="module")
def feed() -> Feed:
    return build(40 * len(TRAPS))


@pytest.fixture(scope="module")
def rows(feed: Feed, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, object]]]:
    folder = tmp_path_factory.mktemp("feed")
    asyncio.run(send(folder / "journal", feed.frames))
    with Ledger(f"sqlite:///{folder / 'ledger.db'}", PROTOCOL.identifier) as ledger:
        ledger.migrate()
        drained = drain_reports(
            journal=folder / "journal",
            ledger=ledger,
            blobs=Blobs(folder / "blobs", bytes(32)),
            sites=(SITE,),
            pseudonymiser=KEYED,
            protocol=PROTOCOL,
            limit=100_000,
            journal_key=KEY,
        )
        assert drained.messages == len(feed.frames) > 900
        return [(row.kind, json.loads(row.body or "")) for row in ledger.since(0)]


def key_of(accession: str) -> str:
    return KEYED.accession_key(SITE.accession_issuer, normalise_accession_number(SITE.accession_rule, accession))


def test_every_version_is_there_once_in_order_with_its_status_and_label(
    feed: Feed, rows: list[tuple[str, dict[str, object]]]
) -> None:
    labels = {(body["report_key"], body["accession_key"]): body["state"] for kind, body in rows if kind == Kind.LABEL}
    found: dict[object, list[tuple[object, ...]]] = defaultdict(list)
    for kind, body in rows:
        if kind == Kind.REPORT_VERSION:
            state = labels[body["report_key"], body["accession_key"]]
            said = (body["result_status"], body["final"], body["addendum_only"], state)
            found[body["accession_key"]].append(said)
    wanted = {key_of(accession): versions for accession, versions in feed.versions.items()}
    assert found.keys() == wanted.keys()
    wrong = {accession: found[key_of(accession)] for accession, versions in feed.versions.items()
             if found[key_of(accession)] != versions}  # fmt: skip
    assert wrong == {}


def test_what_cannot_be_a_report_is_counted_with_its_reason(
    feed: Feed, rows: list[tuple[str, dict[str, object]]]
) -> None:
    audits = [body for kind, body in rows if kind == Kind.AUDIT]
    quarantined = Counter(str(one["detail"]) for one in audits if one["action"] == "message_quarantined")
    assert quarantined == feed.quarantined
    actions = Counter(str(one["action"]) for one in audits)
    assert (actions["message_not_used"], actions["characters_replaced"]) == (feed.not_used, feed.replaced)
    assert not [one for one in audits if str(one["detail"]).startswith("reader_failed")]
