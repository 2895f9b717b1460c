"""A plan says before the trial what can be found, and a volumes file is refused with line and remedy."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from shadow.assessment.planning import Plan, plan_trial
from shadow.cli import app
from shadow.domain.errors import ConfigurationError
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial
from shadow.protocol.volumes import Volume, read_volumes
from shadow.supervision.plan import print_plan

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
TRIAL = CONFIGS / "trials" / "demo-head-ct.toml"
VOLUMES = CONFIGS / "trials" / "demo-head-ct.volumes.csv"
PROTOCOL = read_trial(TRIAL)
SITES = tuple(read_site(CONFIGS / "sites" / f"{name}.toml") for name in PROTOCOL.sites)


@cache
def planned(factor: float = 1.0) -> Plan:
    volumes = [replace(one, positives_per_week=one.positives_per_week * factor) for one in read_volumes(VOLUMES, SITES)]
    return plan_trial(PROTOCOL, SITES, volumes, 0.9, 0.6)


def test_volumes_add_up_from_cells_to_every_group_around_them() -> None:
    plan = planned()
    rates = {group.label: group.positives_per_week for group in plan.groups}
    assert rates["All studies"] == pytest.approx(plan.positives_per_week) == pytest.approx(13.3)
    assert rates["Riverside CT-2"] == pytest.approx(2.9)
    assert rates["Night"] == pytest.approx(3.5)
    assert rates["Riverside, Night"] == pytest.approx(2.6)


def test_groups_that_cannot_alarm_are_named_and_ten_times_the_volume_gives_them_a_voice() -> None:
    plan = planned()
    assert "Riverside CT-3, Night" in {group.label for group in plan.mute}
    assert "All studies" not in {group.label for group in plan.mute}
    assert len(planned(factor=10).mute) < len(plan.mute)


def test_the_rule_for_every_cell_is_sized_by_the_smallest_cell() -> None:
    everywhere = next(one for one in planned().criteria if one.identifier == "sensitivity-every-cell")
    assert everywhere.label == "Riverside CT-3, Night"
    assert everywhere.weeks(everywhere.size.median) == pytest.approx((everywhere.size.median or 0) / 0.1)


def test_a_plan_is_the_same_each_time() -> None:
    assert planned() == planned.__wrapped__()


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("site,scanner,shift\n", "header"),
        ("site,scanner,shift,positives_per_week\nriverside,riverside-ct-9,Day,1\n", "line 2"),
        ("site,scanner,shift,positives_per_week\nriverside,riverside-ct-1,Day,many\n", "line 2, positives_per_week"),
        ("site,scanner,shift,positives_per_week\nriverside,riverside-ct-1,Day,-1\n", "line 2, positives_per_week"),
        (
            "site,scanner,shift,positives_per_week\n" + "riverside,riverside-ct-1,Day,1\n" * 2,
            "line 3",
        ),
    ],
)
def test_a_volumes_file_that_does_not_fit_is_refused_by_line(tmp_path: Path, content: str, field: str) -> None:
    file = tmp_path / "volumes.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_volumes(file, SITES)
    assert caught.value.field == field


def test_no_positives_at_all_is_no_plan(tmp_path: Path) -> None:
    file = tmp_path / "volumes.csv"
    file.write_text("site,scanner,shift,positives_per_week\nriverside,riverside-ct-1,Day,0\n", encoding="utf-8")
    arguments = ["plan", str(TRIAL), "--volumes", str(file), "--sensitivity", "0.9", "--bad", "0.6"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationError)
    with pytest.raises(ValueError, match="no positives"):
        plan_trial(PROTOCOL, SITES, [Volume("riverside", "riverside-ct-1", "Day", 0.0)], 0.9, 0.6)


def test_the_command_prints_criteria_groups_and_the_mute() -> None:
    arguments = ["plan", str(TRIAL), "--volumes", str(VOLUMES), "--sensitivity", "0.9", "--bad", "0.6"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "cannot alarm within 13 weeks" in result.output
    assert "Riverside CT-2, Night" in result.output


def test_names_are_printed_as_the_files_have_them() -> None:
    console = Console(file=StringIO(), width=200)
    group = replace(planned().mute[0], label="Riverside CT-1 [er] [/]")
    plan = replace(planned(), groups=(group,))
    print_plan(plan, replace(PROTOCOL, title="Trial [pilot] [/b]"), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Trial [pilot] [/b] · protocol" in shown
    assert shown.count("Riverside CT-1 [er] [/]") == 2
