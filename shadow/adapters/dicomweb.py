"""Query and retrieve by DICOMweb: QIDO-RS (PS3.18 section 10.6) and WADO-RS (10.4). It reads, and asks for no name."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from shadow.domain.errors import ArchiveUnavailable
from shadow.index_test.archive import (
    FetchedInstance,
    ListCutShort,
    Listed,
    ListedStudy,
    every_study,
    parsed_count,
)
from shadow.index_test.dicom_time import acquisition_date, parsed_date, parsed_time
from shadow.protocol.deployment import ArchivePeer

SECONDS_FOR_AN_ANSWER = 120.0
STUDIES_A_PAGE = 200
MAXIMUM_PART_BYTES = 1 << 31
MAXIMUM_HEAD_BYTES = 1 << 16
STUDY_FIELDS = ("00080020", "00080030", "00080050", "00081030", "00080061", "0020000D", "00100030", "00201208")
"""Study Date, Study Time, Accession Number, Study Description, Modalities in Study, Study Instance UID, Patient's
Birth Date, Number of Study Related Instances."""
_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s";,]+))', re.IGNORECASE)


class WebArchive:
    """A DICOMweb server.

    Args:
        peer: its base URL, and the file with the token if it asks for one.
        home: what a relative token file starts from.
    """

    def __init__(self, peer: ArchivePeer, home: Path) -> None:
        self._peer, self._home = peer, home

    def studies_of(self, day: date, modality: str) -> Iterator[ListedStudy]:
        """The studies of a day that hold a series of the modality."""
        try:
            yield from every_study(day, partial(self._listed_between, modality))
        except ListCutShort:
            raise self._unavailable("has more studies in a quarter of an hour than it will list") from None

    def _listed_between(self, modality: str, begin: datetime, end: datetime) -> Listed:
        query = {"StudyDate": begin.strftime("%Y%m%d"), "ModalitiesInStudy": modality}
        if end - begin < timedelta(days=1):
            query["StudyTime"] = f"{begin:%H%M%S}-{end - timedelta(seconds=1):%H%M%S}.999999"
        return Listed(list(self._pages(query, begin.date())))

    def _pages(self, query: dict[str, str], day: date) -> Iterator[ListedStudy]:
        """All pages of an answer.

        A server may send fewer a page than it is asked for, so only an empty page is the last. One that ignores the
        offset sends its first page again: then that is all of it, unless the page is full.
        """
        seen: set[str] = set()
        offset = 0
        while found := self._search("studies", query, offset):
            studies = [_listed(one, day) for one in found]
            uids = {one.study_instance_uid for one in studies}
            if uids <= seen:
                if len(found) == STUDIES_A_PAGE:
                    raise self._unavailable("sends the same page again: it has more than it will list")
                return
            yield from studies
            seen |= uids
            offset += len(found)

    def instance_count(self, study_instance_uid: str) -> int | None:
        """Number of Study Related Instances, or None."""
        found = self._search("studies", {"StudyInstanceUID": study_instance_uid})
        return parsed_count(_value(found[0], "00201208")) if found else None

    def station_name(self, study_instance_uid: str, modality: str) -> str | None:
        """Station Name of the study's first series of the modality that has one; None where it has no such series."""
        found = self._search(f"studies/{study_instance_uid}/series", {"Modality": modality, "includefield": "00081010"})
        series = [one for one in found if _value(one, "00080060").upper() in ("", modality)]
        return next((name for one in series if (name := _value(one, "00081010"))), "") if series else None

    def fetch(self, study_instance_uid: str, take: Callable[[FetchedInstance], None]) -> None:
        """Fetch a study in the transfer syntaxes that the server keeps it in."""
        accepted = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._client() as client:
            try:
                with client.stream("GET", f"studies/{study_instance_uid}", headers={"Accept": accepted}) as answer:
                    if answer.status_code != httpx.codes.OK:
                        raise self._unavailable(_said(answer.status_code))
                    boundary = _BOUNDARY.search(answer.headers.get("Content-Type", ""))
                    if boundary is None:
                        raise self._unavailable("sent no multipart answer")
                    for part in _parts(answer.iter_bytes(1 << 20), (boundary[1] or boundary[2]).encode()):
                        take(_fetched(part))
            except (httpx.HTTPError, ValueError) as error:
                raise self._unavailable(f"{_words_of(error)} while it was sending") from error

    def _search(self, path: str, query: dict[str, str], offset: int = 0) -> list[dict[str, Any]]:
        fields = [("includefield", field) for field in STUDY_FIELDS] if path == "studies" else []
        parameters: list[tuple[str, str | int | float | bool | None]] = [
            *query.items(),
            *fields,
            ("limit", STUDIES_A_PAGE),
            ("offset", offset),
        ]
        with self._client() as client:
            try:
                answer = client.get(path, params=parameters, headers={"Accept": "application/dicom+json"})
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return []
                if answer.status_code != httpx.codes.OK:
                    raise self._unavailable(_said(answer.status_code))
                found = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                raise self._unavailable(_words_of(error)) from error
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self._unavailable("sent no DICOM JSON: check the url")
        return found

    def _client(self) -> httpx.Client:
        base, headers = self._peer.url.rstrip("/") + "/", {}
        try:
            if self._peer.token_file:
                token = (self._home / self._peer.token_file).read_text(encoding="ascii").strip()
                headers["Authorization"] = f"Bearer {token}"
            trusted = self._trusted()
            return httpx.Client(
                base_url=base, headers=headers, timeout=SECONDS_FOR_AN_ANSWER, trust_env=False, verify=trusted
            )
        except (OSError, ValueError, httpx.InvalidURL) as error:  # ssl.SSLError is an OSError
            raise self._unavailable(f"url, token_file or authorities cannot be used: {_words_of(error)}") from error

    def _trusted(self) -> ssl.SSLContext | bool:
        if not self._peer.authorities:
            return True
        return ssl.create_default_context(cafile=self._home / self._peer.authorities)

    def _unavailable(self, what: str) -> ArchiveUnavailable:
        return ArchiveUnavailable(f"archive of {self._peer.site} (DICOMweb): {what}")


def _said(status: int) -> str:
    """An HTTP status, with what to look at where that is known."""
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"answered HTTP {status}: check token_file"
    if httpx.codes.is_redirect(status):
        return f"answered HTTP {status}: it has moved, write its new address as url"
    return f"answered HTTP {status}"


def _words_of(error: Exception) -> str:
    """What went wrong, without what was sent; the reason too where a certificate is not trusted."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted: name who signs it as authorities"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "nobody answers at that url: check host, port, and http or https"
    if isinstance(error, json.JSONDecodeError):
        return "sent no DICOM JSON: check the url"
    return type(error).__name__


def _parts(chunks: Iterator[bytes], boundary: bytes) -> Iterator[bytearray]:
    """The parts of a multipart body (RFC 2046 section 5.1.1), without their heads; one is in memory at a time.

    Raises:
        ValueError: the body ends before its closing delimiter, or a part is too large.
    """
    delimiter, buffer = b"\r\n--" + boundary, bytearray(b"\r\n")
    searched, inside = 0, False
    for chunk in chunks:
        buffer += chunk
        while True:
            at = buffer.find(delimiter, searched)
            if at < 0:
                searched = max(0, len(buffer) - len(delimiter))
                if len(buffer) > MAXIMUM_PART_BYTES:
                    raise ValueError("a part is too large")
                break
            if len(buffer) < at + len(delimiter) + 2:
                searched = at
                break
            if inside:
                yield _content(buffer[:at])
            after = at + len(delimiter)
            if buffer[after : after + 2] == b"--":
                return
            del buffer[:after]
            searched, inside = 0, True
    raise ValueError("the answer ends in its midst")


def _content(part: bytearray) -> bytearray:
    """A part without its head."""
    end = part.find(b"\r\n\r\n", 0, MAXIMUM_HEAD_BYTES)
    if end < 0:
        raise ValueError("a part has no head")
    return part[end + 4 :]


def _fetched(part: bytearray) -> FetchedInstance:
    """A PS3.10 file as its file meta information says it is.

    Raises:
        ValueError: it is none.
    """
    if part[128:140] != b"DICM\x02\0\0\0UL\x04\0":
        raise ValueError("a part is no PS3.10 file")
    end = 144 + int.from_bytes(part[140:144], "little")
    found: dict[int, str] = {}
    position = 144
    while position + 8 <= end:
        element = int.from_bytes(part[position + 2 : position + 4], "little")
        if bytes(part[position + 4 : position + 6]) in (b"OB", b"UN", b"UT", b"OW"):
            start, length = position + 12, int.from_bytes(part[position + 8 : position + 12], "little")
        else:
            start, length = position + 8, int.from_bytes(part[position + 6 : position + 8], "little")
        found[element] = bytes(part[start : start + length]).decode("ascii", "replace").rstrip("\0 ")
        position = start + length
    return FetchedInstance(found.get(0x02, ""), found.get(0x03, ""), found.get(0x10, ""), memoryview(part)[end:])


def _listed(found: dict[str, Any], asked: date) -> ListedStudy:
    """A study of the answer; one without a usable date counts on the day that was asked about."""
    return ListedStudy(
        study_instance_uid=_value(found, "0020000D"),
        accession_number=_value(found, "00080050"),
        study_date=acquisition_date(_value(found, "00080020")) or asked,
        study_time=parsed_time(_value(found, "00080030")),
        study_description=_value(found, "00081030"),
        modalities=frozenset(str(one).strip().upper() for one in _values(found, "00080061") if one is not None),
        birth_date=parsed_date(_value(found, "00100030")),
        instances=parsed_count(_value(found, "00201208")),
    )


def _values(found: dict[str, Any], tag: str) -> list[Any]:
    element = found.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _value(found: dict[str, Any], tag: str) -> str:
    values = _values(found, tag)
    return "" if not values or values[0] is None else str(values[0]).strip()
