"""Archives that answer half, too much, something else or nothing: no study vanishes, and no question hangs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from head_ct import ROOT, as_file, head_slice
from orthanc import AE_TITLE, Orthanc, free_port, running_orthanc
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from shadow.adapters.dicom_query import DimseArchive
from shadow.adapters.dicomweb import WebArchive
from shadow.domain.errors import ArchiveUnavailable, SetupError
from shadow.index_test.archive import FetchedInstance
from shadow.protocol.deployment import ArchivePeer, Retrieve

pytestmark = pytest.mark.server

DAY = date(2026, 9, 1)
Answer = tuple[int, str, bytes]
Asked = Callable[[str, dict[str, list[str]]], Answer]


@contextmanager
def web(answer: Asked, **settings: str) -> Iterator[WebArchive]:
    """A DICOMweb server that answers as it is told."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, kind, body = answer(parts.path, parse_qs(parts.query))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/dicom-web"
        yield WebArchive(ArchivePeer("riverside", url=url, retrieve=Retrieve.WADO, **settings), Path())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(*numbers: int) -> Answer:
    studies = [
        {"0020000D": {"vr": "UI", "Value": [f"{ROOT}.{one}"]}, "00080020": {"vr": "DA", "Value": ["20260901"]}}
        for one in numbers
    ]
    return 200, "application/dicom+json", json.dumps(studies).encode()


def numbers_of(archive: WebArchive | DimseArchive) -> list[int]:
    return [int(one.study_instance_uid.rsplit(".", 1)[1]) for one in archive.studies_of(DAY, "CT")]


@pytest.mark.parametrize("a_page", [1, 100, 200, 10_000])
def test_a_server_that_sends_fewer_a_page_than_asked_for_is_asked_until_nothing_comes(a_page: int) -> None:
    def answer(_: str, query: dict[str, list[str]]) -> Answer:
        offset, limit = int(query["offset"][0]), min(a_page, int(query["limit"][0]))
        page = range(7 * a_page if a_page == 1 else 450)[offset : offset + limit]
        return told(*page) if page else (204, "", b"")

    with web(answer) as archive:
        assert numbers_of(archive) == list(range(7 if a_page == 1 else 450))


def test_a_server_that_knows_no_offset_is_asked_once_more_and_no_more() -> None:
    with web(lambda *_: told(1, 2, 3)) as archive:
        assert numbers_of(archive) == [1, 2, 3]
    with web(lambda *_: told(*range(200))) as archive, pytest.raises(ArchiveUnavailable, match="same page again"):
        numbers_of(archive)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, "", b""), "HTTP 401: check token_file"),
        ((500, "text/html", b"<html>"), "HTTP 500"),
        ((302, "", b""), "HTTP 302: it has moved"),
        ((200, "text/html", b"<html>sign in</html>"), "sent no DICOM JSON: check the url"),
        ((200, "application/json", b'{"error": 1}'), "sent no DICOM JSON"),
        ((200, "application/json", b'["gone"]'), "sent no DICOM JSON"),
    ],
)
def test_a_server_that_does_not_answer_the_question_is_no_empty_archive(answer: Answer, said: str) -> None:
    with web(lambda *_: answer) as archive, pytest.raises(ArchiveUnavailable, match=said):
        numbers_of(archive)


def test_a_server_that_is_not_there_or_speaks_no_tls_is_said_in_words(tmp_path: Path) -> None:
    with web(lambda *_: (204, "", b"")) as archive:
        tls = archive._peer.url.replace("http:", "https:")
        for url in ("http://127.0.0.1:9", tls):
            peer = ArchivePeer("riverside", url=url, retrieve=Retrieve.WADO)
            with pytest.raises(ArchiveUnavailable, match="nobody answers at that url: check host, port, and http or"):
                WebArchive(peer, tmp_path).instance_count("1.2")


def test_a_study_without_a_usable_date_or_number_is_listed_on_the_day_that_was_asked_about() -> None:
    odd = [
        {"0020000D": {"Value": [f"{ROOT}.1"]}, "00080020": {"Value": ["01/09/26"]}, "00201208": {"Value": ["many"]}},
        {"00080020": {"Value": ["20260901"]}},
        {"0020000D": {"Value": [f"{ROOT}.3"]}, "00080020": {"Value": ["00010101"]}},
        {"0020000D": {"Value": [f"{ROOT}.4"]}, "00080020": {"Value": ["99991231"]}},
    ]

    def answer(_: str, query: dict[str, list[str]]) -> Answer:
        return (200, "application/json", json.dumps(odd).encode()) if query["offset"] == ["0"] else (204, "", b"")

    with web(answer) as archive:
        found = list(archive.studies_of(DAY, "CT"))
    assert [(one.study_instance_uid, one.study_date, one.instances) for one in found] == [
        (f"{ROOT}.1", DAY, None),
        ("", DAY, None),
        (f"{ROOT}.3", DAY, None),
        (f"{ROOT}.4", DAY, None),
    ]


def test_a_token_that_cannot_be_read_or_an_address_that_is_none_is_said_and_stops_nobody_else(tmp_path: Path) -> None:
    for settings in ({"token_file": "nowhere"}, {"authorities": "nowhere.pem"}, {"url": "http://[::1"}):
        peer = ArchivePeer("riverside", **({"url": "http://127.0.0.1:9"} | settings), retrieve=Retrieve.WADO)
        with pytest.raises(ArchiveUnavailable, match="cannot be used"):
            WebArchive(peer, tmp_path).instance_count("1.2")


@pytest.mark.parametrize("boundary", ['"a;b, c"', "plain", '"quoted"'])
def test_boundaries_of_any_form_are_understood(boundary: str) -> None:
    file = as_file(head_slice(study="1"))
    mark = boundary.strip('"').encode()
    body = b"--" + mark + b"\r\n\r\n" + file + b"\r\n--" + mark + b"--\r\n"
    taken: list[FetchedInstance] = []
    with web(lambda *_: (200, f'multipart/related; boundary={boundary}; type="x"', body)) as archive:
        archive.fetch(f"{ROOT}.1", taken.append)
    assert len(taken) == 1
    cut = (200, f"multipart/related; boundary={boundary}", body[:-10])
    with web(lambda *_: cut) as archive, pytest.raises(ArchiveUnavailable, match="while it was sending"):
        archive.fetch(f"{ROOT}.1", taken.append)


Steps = list[tuple[int, Dataset | None]]


@contextmanager
def dimse(find: Callable[[Dataset], Steps], moved: int = 0x0000) -> Iterator[DimseArchive]:
    """A query/retrieve SCP that answers as it is told."""
    entity = AE(AE_TITLE)
    for model in (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        StudyRootQueryRetrieveInformationModelMove,
    ):
        entity.add_supported_context(model)
    port = free_port()

    def move(_: evt.Event) -> Iterator[object]:
        yield (None, None) if moved == 0xA801 else ("127.0.0.1", 9)

    server = entity.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_C_FIND, lambda event: iter(find(event.identifier))), (evt.EVT_C_MOVE, move)],
    )
    try:
        yield DimseArchive("SHADOW", ArchivePeer("riverside", AE_TITLE, "127.0.0.1", port, retrieve=Retrieve.C_MOVE))
    finally:
        server.shutdown()


def study(number: int, **attributes: str) -> Dataset:
    one = Dataset()
    one.QueryRetrieveLevel, one.StudyDate, one.StudyInstanceUID = "STUDY", "20260901", f"{ROOT}.{number}"
    for keyword, value in attributes.items():
        setattr(one, keyword, value)
    return one


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_pending_with_a_warning_and_values_that_cannot_be_read_are_an_answer() -> None:
    odd = study(2)
    for tag, value in ((0x00080020, "yesterday"), (0x00201208, "many")):
        odd[tag] = DataElement(tag, "LO", value)  # implicit VR does not tell: they are read as DA and IS
    answers: Steps = [(0xFF01, study(1)), (0xFF00, odd), (0xFF00, study(3, StudyTime="12"))]
    with dimse(lambda _: answers) as archive:
        assert numbers_of(archive) == [1, 2, 3]


@pytest.mark.parametrize("written", ["00010101", "19000101", "99991231"])
def test_a_date_that_a_program_wrote_for_none_is_the_day_that_was_asked_about(written: str) -> None:
    with dimse(lambda _: [(0xFF00, study(1, StudyDate=written)), (0xFF00, study(2))]) as archive:
        assert [one.study_date for one in archive.studies_of(DAY, "CT")] == [DAY, DAY]


@pytest.mark.parametrize("status", [0xA700, 0xFE00])
def test_an_answer_that_is_cut_short_is_asked_for_in_halves_and_what_came_stands(status: int) -> None:
    """Study 9 has no time of day, so it is in neither half."""

    def find(query: Dataset) -> Steps:
        if "StudyTime" in query and query.StudyTime:
            return [(0xFF00, study(1 if query.StudyTime.startswith("00") else 2))]
        return [(0xFF00, study(9)), (status, None)]

    with dimse(find) as archive:
        assert numbers_of(archive) == [9, 1, 2]


def in_span(asked: str | None, hour: int) -> bool:
    """Whether a full hour lies in what a query's StudyTime asks for."""
    begin, end = (asked or "000000-240000").split("-")
    return begin <= f"{hour:02}0000" <= end


HOURS = {1: 6, 2: 6, 3: 7, 4: 8, 5: 9, 6: 20}
"""Six studies and their hours; the archive lists three at once, and does not say that there are more."""


def test_an_archive_that_cuts_its_list_and_does_not_say_so_lists_all_of_a_day() -> None:
    def find(query: Dataset) -> Steps:
        found = [number for number, hour in HOURS.items() if in_span(query.get("StudyTime"), hour)]
        return [(0xFF00, study(number)) for number in found[:3]]

    with dimse(find) as archive:
        assert sorted(numbers_of(archive)) == sorted(HOURS)


def test_a_server_that_cuts_its_list_and_does_not_say_so_lists_all_of_a_day() -> None:
    def answer(_: str, query: dict[str, list[str]]) -> Answer:
        found = [number for number, hour in HOURS.items() if in_span(query.get("StudyTime", [None])[0], hour)]
        return told(*found[:3][int(query["offset"][0]) :])

    with web(answer) as archive:
        assert sorted(numbers_of(archive)) == sorted(HOURS)


def test_a_refusal_is_told_in_words() -> None:
    with dimse(lambda _: [(0x0124, None)]) as archive, pytest.raises(ArchiveUnavailable, match="does not let us ask"):
        numbers_of(archive)
    unknown = "does not know our AE title as a destination"
    with dimse(lambda _: [], moved=0xA801) as archive, pytest.raises(ArchiveUnavailable, match=unknown):
        archive.fetch(f"{ROOT}.1", lambda _: None)


def test_series_of_another_modality_say_nothing_about_the_scanner() -> None:
    def series(modality: str, station: str) -> Dataset:
        one = Dataset()
        one.QueryRetrieveLevel, one.Modality, one.StationName = "SERIES", modality, station
        return one

    found: Steps = [(0xFF00, series("SR", "WORKSTATION")), (0xFF00, series("CT", "RVCT2"))]
    with dimse(lambda _: found) as archive:
        assert archive.station_name(f"{ROOT}.1", "CT") == "RVCT2"
        assert archive.station_name(f"{ROOT}.1", "MR") is None


@pytest.fixture(name="orthanc")
def an_orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path / "orthanc", free_port(), LimitFindResults=3) as started:
        yield started


def asked(orthanc: Orthanc) -> DimseArchive:
    return DimseArchive("SHADOW", ArchivePeer("riverside", AE_TITLE, "127.0.0.1", orthanc.dicom_port))


def upload(orthanc: Orthanc, number: str, change: Callable[[Dataset], None] = lambda _: None) -> None:
    orthanc.upload(as_file(head_slice(study=number, change=change)))


def test_a_real_archive_with_a_limit_lists_all_of_a_day(orthanc: Orthanc) -> None:
    def at(hour: int) -> Callable[[Dataset], None]:
        def change(dataset: Dataset) -> None:
            dataset.StudyTime = f"{hour:02}0000"

        return change

    for number in range(1, 8):
        upload(orthanc, str(number), at(3 * number))
    assert sorted(set(numbers_of(asked(orthanc)))) == list(range(1, 8))
    url = f"{orthanc.url}/dicom-web"
    paged = WebArchive(ArchivePeer("riverside", url=url, retrieve=Retrieve.WADO), Path())
    assert sorted(set(numbers_of(paged))) == list(range(1, 8))


def test_a_study_with_a_presentation_state_is_fetched_whole_and_a_full_disk_is_told_as_one(orthanc: Orthanc) -> None:
    def presentation(dataset: Dataset) -> None:
        dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.11.1", "PR"
        dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.1.99.1", f"{ROOT}.1.99"
        del dataset.PixelData

    upload(orthanc, "1")
    upload(orthanc, "1", presentation)
    taken: list[FetchedInstance] = []
    asked(orthanc).fetch(f"{ROOT}.1", taken.append)
    assert len(taken) == 2

    def full(_: FetchedInstance) -> None:
        raise SetupError("no room")

    with pytest.raises(SetupError, match="no room"):
        asked(orthanc).fetch(f"{ROOT}.1", full)


def test_an_archive_that_wants_tls_or_another_title_is_told_apart(tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc", free_port(), DicomCheckCalledAet=True) as orthanc:
        wrong = DimseArchive("SHADOW", ArchivePeer("riverside", "ANOTHER", "127.0.0.1", orthanc.dicom_port))
        with pytest.raises(ArchiveUnavailable, match="rejects the association"):
            wrong.instance_count("1.2")
        _, port = orthanc.url.rsplit(":", 1)
        other = DimseArchive("SHADOW", ArchivePeer("riverside", AE_TITLE, "127.0.0.1", int(port)))
        with pytest.raises(ArchiveUnavailable, match="asks for TLS"):
            other.instance_count("1.2")
