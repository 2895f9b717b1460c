"""Charts: what each mark says, and that colour follows the verdict and never the value."""

from __future__ import annotations

import dataclasses
from typing import Any

from example_snapshot import example_cases, example_snapshot

from dashboards.charts.forest import forest
from dashboards.charts.heatmap import heatmap
from dashboards.standing import Measure
from shadow.assessment.snapshot import Verdict

SNAPSHOT = example_snapshot(example_cases())
CELLS = SNAPSHOT.of_dimension("cell")


def rows_of(specification: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows behind a chart that have words, by those words."""
    return {
        row["words"]: row for rows in specification["datasets"].values() for row in rows if row.get("words", "") != ""
    }


def test_a_cell_says_its_counts_and_its_verdict() -> None:
    rows = rows_of(heatmap(SNAPSHOT, CELLS, Measure.SENSITIVITY))
    worst = rows["Riverside CT-2, Night: 16 of 31 found, 52%, Not met"]
    assert (worst["large"], worst["small"]) == ("52%", "16 of 31 · ▼ not met")
    assert len(rows) == len(CELLS) == 15


def test_a_cell_with_too_few_positives_prints_no_percentage() -> None:
    row = rows_of(heatmap(SNAPSHOT, CELLS, Measure.SENSITIVITY))["Hillside CT-2, Night: n = 2, too few"]
    assert (row["large"], row["small"], row["few"], row["standing"]) == ("", "", "n = 2, too few", "Too few")


def test_colour_follows_the_verdict_and_not_the_value() -> None:
    changed = tuple(
        dataclasses.replace(one, verdict=Verdict.MET) if one.label == "Riverside CT-2, Night" else one for one in CELLS
    )
    snapshot = dataclasses.replace(
        SNAPSHOT, groups=tuple(one for one in SNAPSHOT.groups if one.dimension != "cell") + changed
    )
    rows = rows_of(heatmap(snapshot, changed, Measure.SENSITIVITY))
    assert rows["Riverside CT-2, Night: 16 of 31 found, 52%, Met"]["standing"] == "Met"


def test_specificity_has_no_verdict_in_a_cell_where_the_protocol_sets_no_rule() -> None:
    rows = rows_of(heatmap(SNAPSHOT, CELLS, Measure.SPECIFICITY))
    assert {row["standing"] for row in rows.values()} == {"No rule"}
    assert "Riverside CT-1, Day: 69 of 78 cleared, 88%, No rule" in rows


def test_scanners_keep_the_order_of_the_site_files() -> None:
    rows = list(rows_of(heatmap(SNAPSHOT, CELLS, Measure.SENSITIVITY)).values())
    assert list(dict.fromkeys(row["scanner"] for row in rows)) == [
        "Riverside CT-1",
        "Riverside CT-2",
        "Riverside CT-3",
        "Hillside CT-1",
        "Hillside CT-2",
    ]


def test_the_forest_starts_with_the_lowest_and_ends_with_all_studies() -> None:
    specification = forest(SNAPSHOT, CELLS, Measure.SENSITIVITY)
    assert specification is not None
    rows = [row for row in rows_of(specification).values() if "label" in row]
    estimates = [row["estimate"] for row in rows[:-1]]
    assert rows[0]["label"] == "Riverside CT-2, Night"
    assert estimates == sorted(estimates)
    assert (rows[-1]["label"], rows[-1]["counts"]) == ("All studies", "149 / 171")
    assert len(rows) == 10  # nine cells have enough
    assert "criterion: 80%" in rows_of(specification)


def test_a_forest_without_figures_is_no_chart() -> None:
    empty = example_snapshot(())
    assert forest(empty, empty.of_dimension("cell"), Measure.SENSITIVITY) is None
    assert heatmap(empty, empty.of_dimension("cell"), Measure.SPECIFICITY)["datasets"]
