"""Hundreds of ORU^R01 messages with every trap we know, over a real association, each accounted for.

The sender writes down what each frame must become, knowing nothing of the reader: status by tables 0123 and 0085,
finality, text as a radiologist would read it, reasons of quarantine.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shadow.adapters.mllp import serve_mllp
from shadow.domain.clock import RehearsalClock
from shadow.domain.identifiers import Pseudonymiser
from shadow.domain.project import project_folder
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial
from shadow.reference_standard.reception import QUARANTINED, REPLACED, drain_reports
from shadow.store.blobs import Blobs
from shadow.store.events import Kind
from shadow.store.journal import START, JournalReader, JournalWriter
from shadow.store.ledger import Ledger

CONFIGS = project_folder("configs")
SITE = read_site(CONFIGS / "sites" / "riverside.toml")
PROTOCOL = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
KEYED = Pseudonymiser(b"k" * 32)
KEY = b"j" * 32
NOON = datetime(2026, 8, 24, 16, tzinfo=UTC)
ROUNDS = 20
DELIMITERS = ("|^~\\&", "$*@!%", "#:;?+", "|^~\\&")
FINDINGS = ("Small subdural haematoma on the left.", "No haemorrhage.", "Übersicht: keine Blutung, déjà vu.")


@dataclass(frozen=True, slots=True)
class Version:
    """What one message says about one accession."""

    status: str
    final: bool
    text: str
    addendum: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One OBX: its text as read, and OBX-11."""

    text: str
    status: str = "F"


@dataclass(frozen=True, slots=True)
class Style:
    """How one sender writes."""

    version: str = "2.5.1"
    delimiters: str = "|^~\\&"
    line_end: str = "\r"
    codec: str = "utf-8"
    declared: str = "UNICODE UTF-8"

    def escaped(self, text: str) -> str:
        """The text with its delimiters escaped, line breaks as commands, and a few characters in hexadecimal."""
        names = dict(zip(self.delimiters[:5], "FSRET", strict=True))
        escape = self.delimiters[3]
        written = [f"{escape}{names[one]}{escape}" if one in names else one for one in text]
        hexadecimal = {"\n": f"{escape}.br{escape}", "\t": f"{escape}X09{escape}"}
        return "".join(hexadecimal.get(one, one) for one in written)


@dataclass(slots=True)
class Sender:
    """Writes messages by a seed, and the truth about them beside."""

    chance: random.Random
    frames: list[bytes] = field(default_factory=list)
    truth: dict[str, list[Version]] = field(default_factory=dict)
    quarantined: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    replaced: int = 0
    numbers: int = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def accession(self) -> str:
        return f"R{self.number()}"

    def expect(self, accession: str, *versions: Version) -> None:
        self.truth.setdefault(accession, []).extend(versions)

    def send(self, *frames: bytes) -> None:
        self.frames.extend(frames)

    def style(self) -> Style:
        return Style(self.chance.choice(("2.3", "2.5.1", "2.8")), self.chance.choice(DELIMITERS))

    def text(self) -> str:
        return f"IMPRESSION: {self.chance.choice(FINDINGS)} Case {self.number()}."

    def control(self) -> str:
        return f"M{self.number()}"


def oru(
    style: Style,
    control: str,
    orders: Sequence[tuple[str, Sequence[Line]]],
    status: str = "F",
    *,
    facility: str = "RIVERSIDE",
    kind: str = "ORU",
    processing: str = "P",
    at: str = "20260824113000-0400",
) -> bytes:
    """One message; `orders` holds an accession number and the lines of each OBR."""
    fields, component = style.delimiters[0], style.delimiters[1]
    structure = [kind, "R01", "ORU_R01"] if style.version != "2.3" else [kind, "R01"]
    encoding = style.delimiters[1:] + ("#" if style.version == "2.8" and "#" not in style.delimiters else "")
    header = ["MSH", encoding, "RIS", facility, "SHADOW", "TRIAL", at, "", component.join(structure), control]
    header += [processing, style.version, "", "", "", "", "", style.declared]
    segments = [header, ["PID", "1", "", component.join(["MRN778899", "", "", "R", "MR"]), "", "ZEBEDEE"]]
    for set_id, (accession, lines) in enumerate(orders, 1):
        order = ["OBR", str(set_id), *[""] * 24]
        order[3] = component.join(["F" + accession, "RIS"]) if accession else ""
        order[18], order[22], order[25] = accession, "20260824113000-0400", status
        segments.append(order)
        for number, line in enumerate(lines, 1):
            observation = ["OBX", str(number), "TX", "T", "", style.escaped(line.text), *[""] * 5, line.status]
            segments.append(observation)
    return "".join(fields.join(one) + style.line_end for one in segments).encode(style.codec)


def plain(sender: Sender, style: Style | None = None) -> None:
    accession, text = sender.accession(), sender.text()
    sender.send(oru(style or sender.style(), sender.control(), [(accession, [Line(text)])]))
    sender.expect(accession, Version("F", True, text))


def lines_ended_by_line_feeds(sender: Sender) -> None:
    plain(sender, replace(sender.style(), line_end="\n"))


def lines_ended_by_both(sender: Sender) -> None:
    plain(sender, replace(sender.style(), line_end="\r\n"))


def junk(sender: Sender) -> None:
    octets = bytes(sender.chance.choice(range(32, 256)) for _ in range(sender.chance.randrange(1, 200)))
    sender.send(b"%d " % sender.number() + octets)
    sender.quarantined["not_hl7"] += 1


def latin_bytes_under_a_false_flag(sender: Sender) -> None:
    accession, control = sender.accession(), sender.control()
    text = f"Übersicht {control}: no haemorrhage."
    sender.send(oru(replace(sender.style(), codec="latin-1"), control, [(accession, [Line(text)])]))
    sender.expect(accession, Version("F", True, text.replace("Ü", "\ufffd")))
    sender.replaced += 1


def latin_bytes_undeclared(sender: Sender) -> None:
    """The site file says what an empty MSH-18 means."""
    accession, control = sender.accession(), sender.control()
    text = f"Übersicht {control}: no haemorrhage."
    style = replace(sender.style(), codec="latin-1", declared="")
    sender.send(oru(style, control, [(accession, [Line(text)])]))
    known = SITE.default_character_set in ("latin-1", "iso8859-1", "cp1252")
    sender.expect(accession, Version("F", True, text if known else text.replace("Ü", "\ufffd")))
    sender.replaced += not known


def a_batch(sender: Sender) -> None:
    parts = []
    for number in range(3):
        accession, text = sender.accession() if number != 1 else "", sender.text()
        parts.append(oru(Style(), sender.control(), [(accession, [Line(text)])]))
        if accession:
            sender.expect(accession, Version("F", True, text))
    sender.quarantined["no_accession_number"] += 1
    sender.send(b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + b"".join(parts) + b"BTS|3\rFTS|1\r")


def twice_inside_one_frame(sender: Sender) -> None:
    accession, text = sender.accession(), sender.text()
    one = oru(Style(), sender.control(), [(accession, [Line(text)])])
    sender.send(b"BHS|^~\\&|RIS\r" + one + one + b"BTS|2\r")
    sender.expect(accession, Version("F", True, text))
    sender.duplicates += 1


def sent_again_with_another_time(sender: Sender) -> None:
    accession, control, text, style = sender.accession(), sender.control(), sender.text(), sender.style()
    for minute in range(3):
        sender.send(oru(style, control, [(accession, [Line(text)])], at=f"2026082411{minute:02}00-0400"))
    sender.expect(accession, Version("F", True, text))
    sender.duplicates += 2


def a_control_id_used_again(sender: Sender) -> None:
    control = sender.control()
    for accession, text in ((sender.accession(), sender.text()), (sender.accession(), sender.text())):
        sender.send(oru(Style(), control, [(accession, [Line(text)])]))
        sender.expect(accession, Version("F", True, text))


def preliminary_then_final(sender: Sender) -> None:
    accession, text, style = sender.accession(), sender.text(), sender.style()
    for status, final in (("P", False), ("R", False), ("F", True)):
        sender.send(oru(style, sender.control(), [(accession, [Line(text, status)])], status))
        sender.expect(accession, Version(status, final, text))


def an_open_line_holds_a_final_report_back(sender: Sender) -> None:
    accession, text = sender.accession(), sender.text()
    sender.send(oru(sender.style(), sender.control(), [(accession, [Line(text), Line("To follow.", "P")])]))
    sender.expect(accession, Version("P", False, f"{text}\nTo follow."))


def an_addendum_with_the_whole_text(sender: Sender) -> None:
    accession, text, style = sender.accession(), sender.text(), sender.style()
    longer = f"{text}\nADDENDUM: Discussed at {sender.number()}."
    sender.send(oru(style, sender.control(), [(accession, [Line(text)])]))
    sender.send(oru(style, sender.control(), [(accession, [Line(longer, "C")])], "C"))
    sender.expect(accession, Version("F", True, text), Version("C", True, longer, addendum=True))


def an_addendum_alone(sender: Sender) -> None:
    accession, text, style = sender.accession(), sender.text(), sender.style()
    addendum = f"ADDENDUM: Fracture seen at {sender.number()}."
    sender.send(oru(style, sender.control(), [(accession, [Line(text)])]))
    sender.send(oru(style, sender.control(), [(accession, [Line(addendum, "A")])], "F"))
    sender.send(oru(style, sender.control(), [(accession, [Line(addendum, "F")])], "A"))
    sender.expect(accession, Version("F", True, text))
    sender.expect(accession, Version("C", True, addendum, addendum=True), Version("A", False, addendum, addendum=True))


def lines_that_were_withdrawn(sender: Sender) -> None:
    accession, text, wrong = sender.accession(), sender.text(), sender.text()
    lines = [Line(text), Line(wrong, "W"), Line(wrong, "D")]
    sender.send(oru(sender.style(), sender.control(), [(accession, lines)]))
    sender.expect(accession, Version("F", True, text))
    sender.send(oru(sender.style(), sender.control(), [(accession, lines[1:])]))
    sender.expect(accession, Version("X", False, ""))


def a_text_full_of_delimiters(sender: Sender) -> None:
    accession = sender.accession()
    text = f"IMPRESSION: a|b^c&d~e\\f $*@!% #:;?+\nC:\\temp\\{sender.number()}\tno haemorrhage"
    sender.send(oru(sender.style(), sender.control(), [(accession, [Line(text)])]))
    sender.expect(accession, Version("F", True, text))


def several_orders_with_a_text_each(sender: Sender) -> None:
    orders = [(sender.accession(), [Line(sender.text())]) for _ in range(3)]
    sender.send(oru(sender.style(), sender.control(), orders))
    for accession, lines in orders:
        sender.expect(accession, Version("F", True, lines[0].text))


def several_orders_with_one_text(sender: Sender) -> None:
    first, second, text = sender.accession(), sender.accession(), sender.text()
    sender.send(oru(sender.style(), sender.control(), [(first, [Line(text)]), (second, []), ("", [])]))
    for accession in (first, second):
        sender.expect(accession, Version("F", True, text))
    sender.quarantined["no_accession_number"] += 1


def senders_that_nobody_knows(sender: Sender) -> None:
    for reason, change in (
        ("unknown_sending_facility", {"facility": "ELSEWHERE"}),
        ("not_production", {"processing": "T"}),
        ("not_oru", {"kind": "ADT"}),
    ):
        sender.send(oru(sender.style(), sender.control(), [(sender.accession(), [Line("text")])], **change))
        sender.quarantined[reason] += 1


def orders_without_text(sender: Sender) -> None:
    sender.send(oru(sender.style(), sender.control(), [(sender.accession(), [Line("   ")])]))
    sender.send(oru(sender.style(), sender.control(), []))
    sender.quarantined += Counter(no_text=1, no_order=1)


TRAPS: tuple[Callable[[Sender], None], ...] = (
    plain, lines_ended_by_line_feeds, lines_ended_by_both, junk, latin_bytes_under_a_false_flag,
    latin_bytes_undeclared, a_batch, twice_inside_one_frame, sent_again_with_another_time, a_control_id_used_again,
    preliminary_then_final, an_open_line_holds_a_final_report_back, an_addendum_with_the_whole_text,
    an_addendum_alone, lines_that_were_withdrawn, a_text_full_of_delimiters, several_orders_with_a_text_each,
    several_orders_with_one_text, senders_that_nobody_knows, orders_without_text,
)  # fmt: skip


async def deliver(folder: Path, frames: Sequence[bytes], chance: random.Random) -> list[bytes]:
    """Send the frames on one association in pieces of any size; the acknowledgements in their order."""
    clock = RehearsalClock(NOON, NOON, NOON + timedelta(days=1), 1.0)
    with JournalWriter(folder, KEY, minimum_free_bytes=0) as journal:
        server = await serve_mllp("127.0.0.1", 0, journal, clock, maximum_message_bytes=1 << 20, idle_seconds=30.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        replies = asyncio.create_task(_replies(reader, len(frames)))
        stream = memoryview(b"".join(b"\x0b" + one + b"\x1c\r" for one in frames))
        while stream:
            size = chance.choice((1, 7, 300, 5_000, 20_000))
            writer.write(stream[:size])
            await writer.drain()
            stream = stream[size:]
        found = await asyncio.wait_for(replies, 60)
        writer.close()
        await server.close()
    return found


async def _replies(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    return [await reader.readuntil(b"\x1c\r") for _ in range(count)]


@pytest.mark.parametrize("seed", [1, 20260824])
def test_every_message_is_acknowledged_and_becomes_what_its_sender_meant(tmp_path: Path, seed: int) -> None:
    sender = Sender(random.Random(seed))
    for _ in range(ROUNDS):
        for trap in sender.chance.sample(TRAPS, len(TRAPS)):
            trap(sender)
    frames = sender.frames
    assert len(frames) > 300
    replies = asyncio.run(deliver(tmp_path / "journal", frames, sender.chance))
    assert all(b"MSA" in one and b"AA" in one for one in replies)
    journal = JournalReader(tmp_path / "journal", KEY)
    assert [one.payload for one in journal.read(START, len(frames) + 1)] == frames

    blobs = Blobs(tmp_path / "blobs", b"b" * 32)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", PROTOCOL.identifier) as ledger:
        ledger.migrate()
        drained = drain_reports(
            journal=journal,
            ledger=ledger,
            blobs=blobs,
            sites=(SITE,),
            pseudonymiser=KEYED,
            protocol=PROTOCOL,
            limit=len(frames) + 1,
        )
        rows = ledger.since(0)
    versions: dict[str, list[Version]] = {}
    for body in (json.loads(row.body or "") for row in rows if row.kind == Kind.REPORT_VERSION):
        text = blobs.get(body["text_sha256"]).decode()
        one = Version(body["result_status"], body["final"], text, body["addendum"])
        versions.setdefault(body["accession_key"], []).append(one)
    assert versions == {KEYED.accession_key("RIVERSIDE", one): expected for one, expected in sender.truth.items()}
    audits = [json.loads(row.body or "") for row in rows if row.kind == Kind.AUDIT]
    assert Counter(one["detail"] for one in audits if one["action"] == QUARANTINED) == sender.quarantined
    assert sum(one["action"] == REPLACED for one in audits) == sender.replaced
    count = sum(len(one) for one in sender.truth.values())
    assert (drained.messages, drained.versions, drained.labels) == (len(frames), count, count)
    assert (drained.quarantined, drained.duplicates) == (sender.quarantined.total(), sender.duplicates)
