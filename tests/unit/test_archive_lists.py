"""Archives that list no more than so many studies at once, and do not say so: none is passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shadow.index_test.archive import ListCutShort, Listed, ListedStudy, every_study

DAY = date(2026, 9, 1)
DAY_BEGINS = datetime.combine(DAY, time())


def study(number: int, at: datetime | None = None) -> ListedStudy:
    return ListedStudy(f"1.2.{number}", "", DAY, at.time() if at else None, "", frozenset(), None, None)


def at(minute: int) -> datetime:
    return DAY_BEGINS + timedelta(minutes=minute)


@dataclass
class Lister:
    """Lists studies by their minutes of the day, the earliest first, and no more than `limit`."""

    minutes: list[int]
    limit: int
    says_so: bool = False
    knows_the_time: bool = True
    asked: list[tuple[datetime, datetime]] = field(default_factory=list)

    def __call__(self, begin: datetime, end: datetime) -> Listed:
        self.asked.append((begin, end))
        found = [
            study(number, at(minute))
            for number, minute in enumerate(self.minutes)
            if not self.knows_the_time or begin <= at(minute) < end
        ]
        return Listed(found[: self.limit], is_cut=self.says_so and len(found) > self.limit)


def listed(ask: Callable[[datetime, datetime], Listed]) -> list[int]:
    return sorted(int(one.study_instance_uid.rsplit(".", 1)[1]) for one in every_study(DAY, ask))


def test_a_busy_morning_behind_a_limit_is_listed_whole() -> None:
    """The first half of the day answers what the whole day did, and has more all the same."""
    minutes = [*range(360, 600, 2), *range(1200, 1210)]
    assert listed(Lister(minutes, 25)) == list(range(len(minutes)))


def test_more_in_a_quarter_of_an_hour_than_is_listed_is_unknown_and_not_absent() -> None:
    for says_so in (False, True):
        with pytest.raises(ListCutShort):
            listed(Lister([366] * 30 + [900] * 10, 25, says_so))


@pytest.mark.parametrize(("count", "questions"), [(0, 1), (1, 15), (30, 3)])
def test_an_archive_that_lists_all_of_it_is_asked_no_more_than_it_takes(count: int, questions: int) -> None:
    lister = Lister([45 * number for number in range(count)], 1000)
    assert listed(lister) == list(range(count))
    assert len(lister.asked) == questions


def test_an_archive_that_tells_where_it_cuts_is_believed_where_it_does_not() -> None:
    lister = Lister([60, 61, 1000], 2, says_so=True)
    assert listed(lister) == [0, 1, 2]
    assert len(lister.asked) == 3


def test_an_archive_that_does_not_ask_for_the_time_of_day_is_not_asked_for_ever() -> None:
    lister = Lister([60, 61, 1000], 1000, knows_the_time=False)
    assert listed(lister) == [0, 1, 2]
    assert len(lister.asked) == 3


def test_a_study_that_comes_between_two_questions_does_not_make_the_day_unknown() -> None:
    lister = Lister([480, 481], 1000)

    def ask(begin: datetime, end: datetime) -> Listed:
        answer = lister(begin, end)
        if len(lister.asked) == 1:
            lister.minutes.append(960)
        return answer

    assert listed(ask) == [0, 1, 2]


def test_an_archive_that_cuts_and_does_not_ask_for_the_time_of_day_leaves_its_day_unknown() -> None:
    with pytest.raises(ListCutShort):
        listed(Lister([60, 61, 1000], 2, says_so=True, knows_the_time=False))


def test_a_half_that_tells_something_new_is_asked_on_though_its_answer_is_short() -> None:
    """An archive that cuts before it looks for the modality answers with fewer than its limit."""
    of_every_modality = Lister([60, 300, 700, *range(720, 1080, 4), *range(1080, 1200, 4)], 40)
    wanted = {f"1.2.{number}" for number in (0, 1, 2, 41, 42, 100)}

    def ask(begin: datetime, end: datetime) -> Listed:
        return Listed([one for one in of_every_modality(begin, end).studies if one.study_instance_uid in wanted])

    assert listed(ask) == [0, 1, 2, 41, 42, 100]


def test_studies_without_a_usable_uid_are_counted_once_each() -> None:
    nameless = [ListedStudy("", "", DAY, None, "", frozenset(), None, None)] * 2
    assert len(list(every_study(DAY, lambda *_: Listed(nameless)))) == 2


@given(st.lists(st.integers(0, 1439), max_size=60).map(sorted), st.integers(1, 70), st.booleans())
def test_every_study_is_listed_once_or_the_day_is_unknown(minutes: list[int], limit: int, says_so: bool) -> None:
    """But where all of a day's studies are of one quarter of an hour: nothing tells then that there are more."""
    shortest = {
        60 * minute // 675 for minute in minutes
    }  # seconds; halves of a day, down to below a quarter of an hour
    assume(len(shortest) != 1 or len(minutes) <= limit)
    try:
        assert listed(Lister(minutes, limit, says_so)) == list(range(len(minutes)))
    except ListCutShort:
        fullest = max(sum(start <= minute < start + 15 for minute in minutes) for start in range(1440))
        assert fullest >= limit
