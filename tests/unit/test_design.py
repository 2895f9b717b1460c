"""A replayed protocol: the calendars are the hospital's, the counts are those of a real assessment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shadow.cli import app
from shadow.domain.errors import ConfigurationError
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial
from shadow.supervision.design import Design, replay_design

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
TRIAL = CONFIGS / "trials" / "demo-head-ct.toml"
PROTOCOL = read_trial(TRIAL)
SITES = tuple(read_site(CONFIGS / "sites" / f"{name}.toml") for name in PROTOCOL.sites)
DESIGN = Design(trials=4, studies_per_week=130, sensitivity=0.95, station="RVCT2", bad=0.05)


def test_a_scanner_that_finds_nothing_is_caught_by_name_and_healthy_trials_stay_quiet() -> None:
    seen: list[int] = []
    found = replay_design(PROTOCOL, SITES, DESIGN, seen.append)
    assert (found.false_alarms, found.caught, found.caught_by_name) == (0, 4, 4)
    assert all(1 <= week <= 13 for week in found.weeks) and seen == [1, 2, 3, 4]


def test_a_model_far_below_the_floor_everywhere_alarms_without_a_failing_scanner() -> None:
    found = replay_design(PROTOCOL, SITES, replace(DESIGN, trials=2, sensitivity=0.4), lambda _: None)
    assert found.false_alarms == 2


def test_the_command_answers_both_questions_in_counts() -> None:
    result = CliRunner().invoke(app, ["rehearse", "--design", str(TRIAL), "--trials", "2", "--bad", "0.05"])
    assert result.exit_code == 0
    assert "Cries wolf" in result.output and "2 of 2" in result.output


def test_a_station_that_no_site_file_lists_is_refused() -> None:
    result = CliRunner().invoke(app, ["rehearse", "--design", str(TRIAL), "--station", "RVCT9"])
    assert isinstance(result.exception, ConfigurationError) and "RVCT1" in str(result.exception)
