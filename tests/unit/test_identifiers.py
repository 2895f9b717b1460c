import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.domain.errors import ConfigurationError
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number

KEYED = Pseudonymiser(b"k" * 32)
OTHER = Pseudonymiser(b"o" * 32)


@given(st.text(min_size=1, max_size=64))
def test_a_pseudonym_is_stable_and_depends_on_key_purpose_and_issuer(value: str) -> None:
    assert KEYED.accession_key("R", value) == Pseudonymiser(b"k" * 32).accession_key("R", value)
    assert KEYED.accession_key("R", value) != OTHER.accession_key("R", value)
    assert KEYED.accession_key("R", value) != KEYED.accession_key("H", value)
    assert KEYED.accession_key("R", value)[1:] != KEYED.patient_key("R", value)[1:]


@given(st.from_regex(r"[1-9][0-9]{0,8}(\.[1-9][0-9]{0,8}){1,5}", fullmatch=True))
def test_a_uid_stays_a_valid_uid(uid: str) -> None:
    mapped = KEYED.uid(uid)
    assert mapped == KEYED.uid(uid + "\0")
    if not uid.startswith("1.2.840.10008."):
        assert mapped.startswith("2.25.")
        assert mapped[5:].isdigit()
        assert len(mapped) <= 44


def test_a_uid_that_the_standard_registers_is_kept() -> None:
    assert KEYED.uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"


@given(st.text(max_size=40))
def test_dates_move_back_by_whole_weeks(patient: str) -> None:
    days = KEYED.date_shift_days("R", patient)
    assert days % 7 == 0
    assert -7 * 104 <= days <= -7


def test_a_patient_keeps_one_shift_however_the_systems_write_the_number() -> None:
    assert KEYED.date_shift_days("R", " ab1 ") == KEYED.date_shift_days("R", "AB1")
    assert KEYED.patient_key("R", " ab1 ") == KEYED.patient_key("R", "AB1")


@pytest.mark.parametrize(
    ("rule", "written", "meant"),
    [
        ("trim-upper/1", " hs-2026-001234 ", "HS-2026-001234"),
        ("trim-upper-strip-zeros/1", "R00001234", "R1234"),
        ("trim-upper-strip-zeros/1", "r1234", "R1234"),
        ("trim-upper-strip-zeros/1", "R1020", "R1020"),
        ("trim-upper-strip-zeros/1", "0", "0"),
    ],
)
def test_one_accession_number_however_it_is_written(rule: str, written: str, meant: str) -> None:
    assert normalise_accession_number(rule, written) == meant


def test_an_unknown_accession_rule_names_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match="trim-upper/1"):
        normalise_accession_number("guess", "1")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        Pseudonymiser(b"short")
