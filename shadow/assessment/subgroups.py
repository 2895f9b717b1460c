"""Accuracy over all, by site, scanner and shift, and in every cell of scanner and shift."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shadow.assessment.accuracy import proportion
from shadow.assessment.cohorts import Cohorts, Place
from shadow.assessment.criteria import judge
from shadow.assessment.linkage import CaseCounts
from shadow.assessment.snapshot import Group, Verdict
from shadow.protocol.site import Site
from shadow.protocol.trial import Criterion, Measure, Scope, TrialProtocol


def all_groups(
    counts: Iterable[CaseCounts], cohorts: Cohorts, sites: Sequence[Site], protocol: TrialProtocol
) -> tuple[Group, ...]:
    """Every declared group, with or without studies, and every undeclared one that has studies.

    Order: all, sites, scanners, shifts, cells, each in the order of the site files; groups that no site file
    declares (an unlisted scanner, an unknown shift) come last in their dimension and are never left out.
    """
    counted = {(one.dimension, one.site, one.scanner, one.shift): one for one in counts}
    declared = [place for place in declared_places(sites) if place[0] != "site_and_shift"]
    undeclared = [place for place in counted if place not in set(declared)]
    order = ("all", "site", "scanner", "shift", "cell")
    places = sorted(declared + undeclared, key=lambda place: order.index(place[0]))
    return tuple(_group(place, counted.get(place), cohorts, sites, protocol) for place in places)


def worst_cell_label(groups: Sequence[Group]) -> str:
    """The cell with the lowest sensitivity among those with enough positives, or empty if none has."""
    cells = [group for group in groups if group.dimension == "cell" and group.enough]
    cells = [group for group in cells if group.sensitivity.estimate is not None]
    if not cells:
        return ""
    return min(cells, key=lambda group: (group.sensitivity.estimate or 0.0, group.label)).label


def declared_places(sites: Sequence[Site]) -> tuple[Place, ...]:
    """Every group that the site files declare: all, sites, scanners, shifts, shifts of sites, cells."""
    shifts = dict.fromkeys(name for site in sites for name in site.calendar().names())
    return (
        ("all", "", "", ""),
        *(("site", site.identifier, "", "") for site in sites),
        *(("scanner", site.identifier, scanner.identifier, "") for site in sites for scanner in site.scanners),
        *(("shift", "", "", shift) for shift in shifts),
        *(("site_and_shift", site.identifier, "", shift) for site in sites for shift in site.calendar().names()),
        *(
            ("cell", site.identifier, scanner.identifier, shift)
            for site in sites
            for scanner in site.scanners
            for shift in site.calendar().names()
        ),
    )


def _group(
    place: Place, counts: CaseCounts | None, cohorts: Cohorts, sites: Sequence[Site], protocol: TrialProtocol
) -> Group:
    matured = cohorts.matured(place)
    c = counts or CaseCounts(*place, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    sensitivity = proportion(c.found, c.present)
    enough = c.present >= protocol.minimum_positives_shown
    criterion = _sensitivity_criterion(protocol, Scope.SCANNER_AND_SHIFT if c.dimension == "cell" else Scope.ALL)
    judged = criterion is not None and enough and c.dimension in ("all", "cell")
    return Group(
        dimension=c.dimension,
        site=c.site,
        scanner=c.scanner,
        shift=c.shift,
        label=label_of(place, sites),
        eligible=c.eligible,
        pending=c.pending,
        failed=c.failed,
        late=c.late,
        indeterminate=c.indeterminate,
        sensitivity=sensitivity,
        sensitivity_evaluable=proportion(c.found, c.present_evaluable),
        specificity=proportion(c.absent - c.flagged, c.absent),
        specificity_worst_case=proportion(c.cleared, c.absent),
        matured=matured,
        enough=enough,
        verdict=judge(matured, criterion) if judged and criterion else Verdict.NOT_YET_KNOWN,
    )


def _sensitivity_criterion(protocol: TrialProtocol, scope: Scope) -> Criterion | None:
    return next(
        (one for one in protocol.criteria if one.scope is scope and one.measure is Measure.SENSITIVITY),
        None,
    )


def label_of(place: Place, sites: Sequence[Site]) -> str:
    """How pages name a group, for example `Riverside CT-2, Night`."""
    dimension, site_identifier, scanner_identifier, shift = place
    site = next((one for one in sites if one.identifier == site_identifier), None)
    site_name = site.name if site else site_identifier
    scanners = site.scanners if site else ()
    scanner_name = next((one.name for one in scanners if one.identifier == scanner_identifier), scanner_identifier)
    match dimension:
        case "all":
            return "All studies"
        case "site":
            return site_name
        case "scanner":
            return f"{site_name} {scanner_name}"
        case "shift":
            return shift
        case "site_and_shift":
            return f"{site_name}, {shift}"
        case _:
            return f"{site_name} {scanner_name}, {shift}"
