"""Import rules do not stop a query on the wrong table; these do."""

import re
from pathlib import Path

import pytest

SQL = Path(__file__).parents[2] / "sql"
INDEX_TEST_TABLES = {"prediction", "prediction_failure", "index_result"}
REFERENCE_TABLES = {
    "report_version",
    "label",
    "accession_report",
    "standing_version",
    "study_report",
    "study_label",
    "adjudication",
}


def _tables(path: Path) -> set[str]:
    text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    return set(re.findall(r"\b(?:from|join)\s+([a-z_]+)", text))


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("index_test", REFERENCE_TABLES),
        ("reference_standard", INDEX_TEST_TABLES),
        ("adjudication", INDEX_TEST_TABLES | REFERENCE_TABLES - {"adjudication"}),
        ("views/linkage", INDEX_TEST_TABLES | REFERENCE_TABLES),
        ("views/joined", INDEX_TEST_TABLES),
    ],
)
def test_no_statement_of_one_side_names_a_table_of_the_other(room: str, forbidden: set[str]) -> None:
    files = list(SQL.rglob(f"{room}/*.sql"))
    assert files
    for path in files:
        assert not _tables(path) & forbidden, path


def test_every_statement_says_its_grain_or_promise_first_and_orders_its_rows() -> None:
    for path in SQL.rglob("*.sql"):
        if path.parent.name == "migrations":
            continue
        text = path.read_text(encoding="utf-8")
        assert re.match(r"-- (grain|promise):", text), path
        assert "order by" in text, path
