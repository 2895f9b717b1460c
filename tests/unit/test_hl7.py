"""The HL7 reader on messages written by hand: delimiters, character sets, escapes, batches, and what is not HL7."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.domain.errors import MalformedMessage
from shadow.domain.hl7 import parse_message, sending_facility, split_messages

HEADER = rb"MSH|^~\&|RIS|RIVERSIDE|SHADOW|TRIAL|20260824103000-0400||ORU^R01^ORU_R01|C1|P|2.5.1"


def value_of(obx5: bytes, header: bytes = HEADER, default: str = "latin-1") -> tuple[str, ...]:
    message = parse_message(header + b"\rOBX|1|TX|T||" + obx5 + b"||||||F\r", default)
    observation = message.first("OBX")
    assert observation is not None
    return message.lines(observation, 5)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_segments_are_found_whatever_ends_them(end: bytes) -> None:
    message = parse_message(end.join([HEADER, b"PID|1||42", b"OBX|1|TX|T||text"]) + end, "latin-1")
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "OBX"]
    pid = message.first("PID")
    assert pid is not None
    assert message.value(pid, 3) == "42"


def test_fields_are_counted_as_hl7_counts_them() -> None:
    message = parse_message(HEADER, "latin-1")
    header = message.segments[0]
    assert header.raw(1) == "|"
    assert message.value(header, 4) == "RIVERSIDE"
    assert message.value(header, 9, 2) == "R01"
    assert message.value(header, 99) == ""
    assert message.value(header, 9, 9) == ""


def test_delimiters_come_from_the_message_itself() -> None:
    message = parse_message(
        b"MSH$*@!%$RIS$HILLSIDE$$$$$ORU*R01$9$P$2.3\rPID$1$$11*2*3*AUTH%X*MR@22\r"
        b"OBX$1$TX$T$$one!R!two@three!S!!E!$$$$$$F",
        "latin-1",
    )
    pid, observation = message.first("PID"), message.first("OBX")
    assert pid is not None
    assert observation is not None
    assert [message.component(one) for one in message.repetitions(pid, 3)] == ["11", "22"]
    assert message.value(pid, 3, 4) == "AUTH"
    assert message.lines(observation, 5) == ("one@two", "three*!")


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        (rb"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (rb"one\.br\two", "one\ntwo"),
        (rb"one\.sp\two\.sp2\three", "one\ntwo\n\nthree"),
        (rb"\H\bold\N\ plain", "bold plain"),
        (rb"\.in+4\indented\.ti-2\ x", "indented x"),
        (rb"\X41\\X42\C", "ABC"),
        (rb"\Zcustom\kept", "kept"),
        (rb"C:\scans\head", r"C:\scans\head"),
        (rb"a lone \ stays", r"a lone \ stays"),
        (rb"\X4\ odd hex", r"\X4\ odd hex"),
        (rb"\.sp9999\x", "\n" * 20 + "x"),
        (b"", ""),
    ],
)
def test_escapes_become_what_they_stand_for_and_the_rest_stays(raw: bytes, meant: str) -> None:
    assert value_of(raw) == (meant,)


def test_hexadecimal_escapes_are_read_in_the_messages_character_set() -> None:
    header = HEADER + b"||||||UNICODE UTF-8"
    assert value_of(rb"caf\XC3A9\ and \XC3\\XA9\ ", header) == ("café and é ",)
    assert value_of(rb"caf\XE9\ ") == ("café ",)


def test_repetitions_of_a_text_are_lines_and_stray_components_stay() -> None:
    assert value_of(b"first~second^with caret & ampersand") == ("first", "second^with caret & ampersand")


def test_an_explicit_null_is_no_value() -> None:
    message = parse_message(HEADER + b'\rPID|1||""\rOBX|1|TX|||""', "latin-1")
    pid, observation = message.first("PID"), message.first("OBX")
    assert pid is not None
    assert observation is not None
    assert message.value(pid, 3) == ""
    assert message.lines(observation, 5) == ()


@pytest.mark.parametrize(
    ("declared", "octets", "faithful", "text"),
    [
        (b"8859/1", b"h\xe4morrhagie", True, "hämorrhagie"),
        (b"UNICODE UTF-8", "hämorrhagie".encode(), True, "hämorrhagie"),
        (b"", b"h\xe4morrhagie", True, "hämorrhagie"),
        (b"ASCII", b"h\xe4morrhagie", True, "hämorrhagie"),
        (b"UNICODE UTF-8", b"h\xe4morrhagie", False, "h\ufffdmorrhagie"),
        (b"KLINGON", b"h\xe4morrhagie", False, "hämorrhagie"),
        (b"~8859/15", b"\xa4", True, "€"),
        (b"8859/1~ISO IR87", b"h\xe4", True, "hä"),
    ],
)
def test_the_character_set_is_the_messages_own_else_the_sites(
    declared: bytes, octets: bytes, faithful: bool, text: str
) -> None:
    message = parse_message(HEADER + b"||||||" + declared + b"\rOBX|1|TX|||" + octets, "latin-1")
    observation = message.first("OBX")
    assert observation is not None
    assert message.lines(observation, 5) == (text,)
    assert message.faithful is faithful


def test_a_line_break_inside_a_text_does_not_cut_the_text() -> None:
    message = parse_message(HEADER + b"\rOBX|1|TX|||No mass.\nCT1 shows none.\nBleed.|||||F\rNTE|1||x", "latin-1")
    observation = message.first("OBX")
    assert observation is not None
    assert message.lines(observation, 5) == ("No mass.\nCT1 shows none.\nBleed.",)
    assert message.first("NTE") is not None


def test_a_batch_is_cut_into_its_messages_and_loses_its_envelope() -> None:
    first, second = HEADER + b"\rPID|1||1\r", HEADER.replace(b"C1", b"C2") + b"\nPID|1||2\n"
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + first + second + b"BTS|2\rFTS|1\r"
    parts = split_messages(batch)
    assert len(parts) == 2
    messages = [parse_message(part, "latin-1") for part in parts]
    assert [message.value(message.segments[0], 10) for message in messages] == ["C1", "C2"]
    assert [segment.name for segment in messages[1].segments] == ["MSH", "PID"]


def test_a_single_message_is_the_whole_frame() -> None:
    frame = b"\xef\xbb\xbf\r\n" + HEADER + b"\rPID|1||MSH\r"
    assert split_messages(frame) == (frame,)
    assert sending_facility(frame) == "RIVERSIDE"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"hello",
        b"MSH",
        b"MSH|",
        b"MSH|||||",
        b"MSHA^~\\&|x",
        b"MSH|^^~\\|x",
        b"PID|1",
        b"\0\0",
        b"MSH ^~\\& x",
    ],
)
def test_what_is_not_hl7_is_refused_with_a_stable_code(octets: bytes) -> None:
    with pytest.raises(MalformedMessage) as refused:
        parse_message(octets, "latin-1")
    assert refused.value.reason == "not_hl7"


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda tail: HEADER + b"\r" + tail)))
def test_no_bytes_break_the_reader(octets: bytes) -> None:
    for part in split_messages(octets):
        try:
            message = parse_message(part, "utf-8")
        except MalformedMessage:
            continue
        for segment in message.segments:
            for number in range(len(segment.fields) + 2):
                message.lines(segment, number)
                message.value(segment, number)
