import re
from pathlib import Path

import pytest

from shadow.domain.errors import ConfigurationError
from shadow.protocol.deployment import read_deployment
from shadow.protocol.site import read_site
from shadow.protocol.trial import Scope, read_trial

CONFIGS = Path(__file__).parents[2] / "configs"
TRIAL = (CONFIGS / "trials" / "demo-head-ct.toml").read_text(encoding="utf-8")


def _refused(tmp_path: Path, text: str) -> ConfigurationError:
    path = tmp_path / "trial.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_trial(path)
    assert str(path) in str(caught.value)
    return caught.value


def test_the_shipped_files_are_read_into_frozen_values() -> None:
    trial = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
    assert trial.champion.identifier == "demo-head-ct-haemorrhage"
    assert [one.scope for one in trial.criteria] == [Scope.ALL, Scope.ALL, Scope.SCANNER_AND_SHIFT]
    for identifier in trial.sites:
        site = read_site(CONFIGS / "sites" / f"{identifier}.toml")
        assert site.identifier == identifier
        assert site.calendar().names() == ("Day", "Evening", "Night")
    assert read_deployment(CONFIGS / "deployment.toml").receiver.host == "127.0.0.1"
    with pytest.raises(AttributeError):
        trial.version = "2"  # type: ignore[misc]


def test_an_unknown_key_is_refused_with_the_nearest_valid_one(tmp_path: Path) -> None:
    error = _refused(tmp_path, TRIAL.replace("minimum_age_years", "minimum_age_year"))
    assert error.field == "eligibility.minimum_age_year"
    assert "'minimum_age_years'" in error.remedy


@pytest.mark.parametrize(
    "line",
    [
        "minimum_age_years = 18",
        "floor = 0.80",
        "confidence = 0.95",
        'not_mentioned = "absent"',
        "minimum_positives_shown = 10",
        "slice_thickness_mm_maximum = 10.0",
    ],
)
def test_nothing_clinical_has_a_default(tmp_path: Path, line: str) -> None:
    assert line in TRIAL
    error = _refused(tmp_path, TRIAL.replace(line, "", 1))
    assert error.field.split(".")[-1] == line.split(" ")[0]
    assert "missing" in error.remedy


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ('role = "champion"', 'role = "champoin"', "models[0].role", "champion, challenger"),
        ("floor = 0.80", "floor = 80", "criteria[0]", "between 0 and 1"),
        ("minimum_age_years = 18", 'minimum_age_years = "18"', "eligibility.minimum_age_years", "int"),
        ("first_final_is_primary = true", "first_final_is_primary = false", "reference", "must be true"),
        ("2026-11-23T00:00:00Z", "2026-11-23T00:00:00", "index_window_end", "offset"),
        ('role = "champion"', 'role = "challenger"', "file", "exactly one model"),
        ('sites = ["riverside", "hillside"]', 'sites = "riverside"', "sites", "array"),
        ('sites = ["riverside", "hillside"]', "sites = []", "file", "sites: name at least one"),
        ('sites = ["riverside", "hillside"]', 'sites = ["riverside", "riverside"]', "file", "each once"),
        ('modality = "CT"', 'modality = "ct"', "eligibility", "modality: write 'CT'"),
        ('["HEAD", "BRAIN"]', '["Head"]', "eligibility", "study_description_any: 'Head' .*write 'HEAD'"),
        ('["HEAD", "BRAIN"]', "[]", "eligibility", "study_description_any: name at least one"),
        ('"CTA", "ANGIO"', '"CTA", ""', "eligibility", "study_description_none: '' is in every"),
    ],
)
def test_bad_input_names_file_field_and_remedy(tmp_path: Path, old: str, new: str, field: str, words: str) -> None:
    assert old in TRIAL
    error = _refused(tmp_path, TRIAL.replace(old, new, 1))
    assert error.field == field
    assert re.search(words, error.remedy)


def test_a_file_that_is_missing_or_broken_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="check the path"):
        read_trial(tmp_path / "absent.toml")
    assert "not valid TOML" in _refused(tmp_path, "sites = [").remedy


@pytest.mark.parametrize("zone", ["America/Gotham", "America", "x" * 300])
def test_an_unknown_time_zone_is_refused(tmp_path: Path, zone: str) -> None:
    text = (CONFIGS / "sites" / "riverside.toml").read_text(encoding="utf-8")
    path = tmp_path / "site.toml"
    path.write_text(text.replace("America/New_York", zone), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="time_zone"):
        read_site(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("trim-upper-strip-zeros/1", "trim-uper/1", "accession_rule: .*trim-upper-strip-zeros/1"),
        ("latin-1", "latin-17", "default_character_set: .*latin-1"),
        ("latin-1", "hex", "default_character_set: .*latin-1"),
        ("latin-1", "utf-16", "default_character_set: .*latin-1"),
    ],
)
def test_a_rule_or_a_character_set_that_is_not_there_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = (CONFIGS / "sites" / "riverside.toml").read_text(encoding="utf-8")
    path = tmp_path / "site.toml"
    path.write_text(text.replace(f'= "{old}"', f'= "{new}"'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        read_site(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"RVCT2"', '"RVCT2 "', "station_name: .*without a space"),
        ('"RVCT2"', '""', "station_name: .*not empty"),
        ('"riverside-ct-2"', '"riverside-ct-1"', "same identifier"),
        ("15:00:00", "07:00:00", "shifts: two shifts start at the same time"),
    ],
)
def test_a_scanner_or_a_shift_that_could_never_be_found_is_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = (CONFIGS / "sites" / "riverside.toml").read_text(encoding="utf-8")
    path = tmp_path / "site.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=words):
        read_site(path)


@pytest.mark.parametrize(
    ("titles", "words"),
    [
        ('["RIVERSIDE_RTR "]', "begins or ends with a space"),
        ('["RIVERSIDE_ROUTER_1"]', "1 to 16 characters"),
        ('[""]', "1 to 16 characters"),
        ('["MÜNCHEN"]', "ASCII"),
        ("['A\\B']", "no backslash"),
        ("[]", "at least one"),
    ],
)
def test_a_calling_ae_title_that_no_router_can_have_is_refused(tmp_path: Path, titles: str, words: str) -> None:
    text = (CONFIGS / "sites" / "riverside.toml").read_text(encoding="utf-8")
    path = tmp_path / "site.toml"
    path.write_text(text.replace('["RIVERSIDE_RTR"]', titles), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"calling_ae_titles: .*{words}"):
        read_site(path)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[receiver]\nae_title = "SHADOW "', "receiver: ae_title"),
        ('[receiver]\nae_title = ""', "receiver: ae_title"),
        ("[receiver]\nport = 111120", "receiver: port"),
        ("[reports]\nport = -1", "reports: port"),
        ("[vendor_results]\nport = 65536", "vendor_results: port"),
        ("[dashboard]\nport = 85010", "dashboard: port"),
        ("[scheduler]\nport = 80800", "scheduler: port"),
        ('[fhir_listener]\ntoken_file = "t"\nport = 80900', "fhir_listener: port"),
        ('[[archives]]\nsite = "riverside"\nae_title = "RIVERSIDE_ARCHIVE"', r"archives\[0\]: ae_title"),
        ('[[archives]]\nsite = "riverside"\nae_title = "PACS"\nport = 104000', r"archives\[0\]: port"),
        ("[receiver]\nmaximum_associations = 0", "receiver: maximum_associations: must be above 0"),
        ("[receiver]\nidle_seconds = 0", "receiver: idle_seconds"),
        ("[receiver]\nidle_seconds = nan", "receiver: idle_seconds"),
        ("[receiver]\nquiet_period_seconds = -60.0", "receiver: quiet_period_seconds: must be at least 0"),
        ("[receiver]\nquiet_period_seconds = nan", "receiver: quiet_period_seconds"),
        ("[reports]\nmaximum_message_bytes = 0", "reports: maximum_message_bytes"),
        ('[[archives]]\nsite = "riverside"\nae_title = "PACS"\nlookback_days = -7', r"archives\[0\]: lookback_days"),
        (
            '[[receiver.commitment_peers]]\nae_title = "RTR "\nhost = "router"\nport = 1',
            r"receiver.commitment_peers\[0\]: ae_title",
        ),
    ],
)
def test_a_title_a_port_or_a_limit_that_cannot_be_is_refused(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "deployment.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=field):
        read_deployment(path)


@pytest.mark.parametrize("url", ["postgres://s:secret@db/shadow", "postgresql://s:secret@db/shadow", "secret"])
def test_a_ledger_url_of_no_known_driver_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    path = tmp_path / "deployment.toml"
    path.write_text(f'ledger_url = "{url}"')
    with pytest.raises(ConfigurationError, match=r"ledger_url: must begin with postgresql\+psycopg://") as caught:
        read_deployment(path)
    assert "secret" not in str(caught.value)


def test_a_peer_that_speaks_tls_needs_a_certificate_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "deployment.toml"
    peer = '[[archives]]\nsite = "riverside"\nae_title = "PACS"\ntls = true\n'
    path.write_text(peer)
    with pytest.raises(ConfigurationError, match=r"receiver\.tls: is missing"):
        read_deployment(path)
    path.write_text(peer + '[receiver.tls]\ncertificate = "a"\nkey = "b"\nclient_authorities = "c"\n')
    assert read_deployment(path).archives[0].tls
    path.write_text("[receiver]\nmaximum_associations = 10\nprocesses = 4\n")
    assert read_deployment(path).receiver.share.maximum_associations == 3
