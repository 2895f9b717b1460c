"""Reports in a CSV or Parquet table, one a row, by the columns that the site file names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from shadow.domain.errors import MalformedMessage
from shadow.protocol.site import ReportTable
from shadow.reference_standard.report import ParsedReport, UnusableReport, addendum_start, timestamp
from shadow.reference_standard.result_status import ResultStatus

PARQUET = b"PAR1"
Row = dict[str, str]


def table_reports(
    content: bytes, columns: ReportTable, zone: ZoneInfo
) -> Iterator[tuple[bytes, list[ParsedReport | UnusableReport]]]:
    """Each row as canonical bytes with its report; the same row in another table is the same version.

    CSV is UTF-8 with a header line; times are ISO 8601 or HL7, in the site's zone where they carry no offset.

    Raises:
        MalformedMessage: `not_a_table`, or `column_missing`.
    """
    wanted = [name for name in columns.names() if name]
    for row in _parquet_rows(content, wanted) if content.startswith(PARQUET) else _csv_rows(content, wanted):
        yield json.dumps(row, sort_keys=True, ensure_ascii=False).encode(), [_report(row, columns, zone)]


def _report(row: Row, columns: ReportTable, zone: ZoneInfo) -> ParsedReport | UnusableReport:
    accession_number, text = row[columns.accession_number].strip(), row[columns.text]
    status = _status(row.get(columns.status, ""), columns)
    if not accession_number:
        return UnusableReport(1, "no_accession_number")
    if not text.strip() and status is not ResultStatus.CANCELLED:
        return UnusableReport(1, "no_text")

    def at(column: str) -> str:
        """An ISO time without its separators is an HL7 one."""
        value = row.get(column, "").strip()
        day, _, clock = value.replace(" ", "T").partition("T")
        return day.replace("-", "") + clock.replace(":", "").replace("Z", "+0000") if "-" in value[:8] else value

    return ParsedReport(
        group=1,
        accession_number=accession_number,
        patient_id=row.get(columns.patient_id, "").strip() or None,
        result_status=status,
        observed_at=timestamp(at(columns.observed_at), zone),
        reported_at=timestamp(at(columns.reported_at), zone),
        text=text,
        addendum_start=addendum_start(text),
        patient_class=None,
    )


def _status(value: str, columns: ReportTable) -> ResultStatus:
    said = value.strip().casefold()
    for values, status in (
        (columns.final, ResultStatus.FINAL),
        (columns.corrected, ResultStatus.CORRECTED),
        (columns.preliminary, ResultStatus.PRELIMINARY),
        (columns.cancelled, ResultStatus.CANCELLED),
    ):
        if said in (one.casefold() for one in values):
            return status
    return ResultStatus.UNSTATED


def _csv_rows(content: bytes, wanted: list[str]) -> Iterator[Row]:
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        if set(wanted) - set(rows.fieldnames or []):
            raise MalformedMessage("column_missing", "the site file names columns that the table does not have")
        for row in rows:
            yield {name: row.get(name) or "" for name in wanted}
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedMessage("not_a_table", type(error).__name__) from error


def _parquet_rows(content: bytes, wanted: list[str]) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        if set(wanted) - set(file.schema_arrow.names):
            raise MalformedMessage("column_missing", "the site file names columns that the table does not have")
        for batch in file.iter_batches(batch_size=1_000, columns=wanted):
            for row in batch.to_pylist():
                yield {name: "" if row[name] is None else str(row[name]) for name in wanted}
    except (pa.ArrowException, OSError) as error:
        raise MalformedMessage("not_a_table", type(error).__name__) from error
