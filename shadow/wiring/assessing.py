"""Assesses, publishes, records alarms, and tells of them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from shadow.assessment.snapshot import Monitor
from shadow.assessment.snapshot_file import OtherVersion, Published, read_current
from shadow.store.events import Audited, Kind
from shadow.store.ledger import Head
from shadow.wiring.tasks import task_trial
from shadow.wiring.trial import Trial

NICENESS = 5
"""Of the task's own process: predictions are due before their reports, figures can wait for a busy processor."""


def publish_assessment() -> int:
    """Assess and publish where the ledger has moved since the newest snapshot. Returns how many."""
    os.nice(NICENESS)
    return 0 if assess_trial(task_trial()) is None else 1


def notify_alarms() -> int:
    """Tell of every alarm that was not yet told of, once a way of telling. Returns how many messages were sent."""
    return tell_of_alarms(task_trial())


def _newest(trial: Trial) -> Published | None:
    """The newest snapshot; None where another version of Shadow wrote it: it is then made anew."""
    try:
        return read_current(trial.home.snapshots)
    except OtherVersion:
        return None


def tell_of_alarms(trial: Trial) -> int:
    """The same for an open trial. A message that was sent and not yet recorded is sent again after a kill.

    Raises:
        OSError: a way of telling fails; what was told before is on record and not told again.
    """
    from shadow.adapters.notify import channels

    ways, newest, sent = channels(trial.deployment.notifications), _newest(trial), 0
    if newest is None or not ways:
        return 0
    with trial.open_ledger() as ledger:
        for stream, alarm, words in _alarms(trial, newest):
            for name, tell in ways.items():
                told = _told(stream, alarm, name)
                if not ledger.known(Kind.AUDIT, [told.key]):
                    tell(*words)
                    ledger.append([told])
                    sent += 1
    return sent


def _alarms(trial: Trial, published: Published) -> Iterator[tuple[str, Monitor, tuple[str, str]]]:
    """Stream, alarm, and subject and text to tell it with."""
    from shadow.assessment.completeness import completeness_stream
    from shadow.assessment.monitors import stream_of

    snapshot = published.snapshot
    for alarm in snapshot.monitoring.alarms:
        yield stream_of(trial.protocol, snapshot.threshold), alarm, _words(published, alarm)
    arrived = snapshot.completeness
    if arrived is not None and arrived.monitoring is not None:
        for alarm in arrived.alarms:
            words = _words_of_missing(published, alarm, arrived.monitoring.floor)
            yield completeness_stream(arrived.monitoring.floor), alarm, words


def _told(stream: str, alarm: Monitor, way: str) -> Audited:
    """One entry a way of telling, group and stream: the same group alarms anew under a new model or label rule."""
    group = ":".join((alarm.dimension, alarm.site, alarm.scanner, alarm.shift))
    return Audited(f"alarm-told:{way}:{stream}:{group}", "assessment", "alarm_told", group, way)


def _words(published: Published, alarm: Monitor) -> tuple[str, str]:
    """Subject and text: the group and its counts, no study."""
    snapshot = published.snapshot
    assert alarm.alarm_week is not None
    subject = f"Silent trial {snapshot.trial}: alarm at {alarm.label}"
    text = (
        f"{snapshot.trial_title}\n\n{alarm.label} is {alarm.alarm_reason} since the week of "
        f"{alarm.alarm_week:%d %b %Y}: the model found {alarm.found} of {alarm.present} {snapshot.target_plural} in "
        f"closed weeks. The floor is {snapshot.monitoring.floor:.0%}.\n\nModel {snapshot.model} "
        f"{snapshot.model_version}, snapshot {published.sha256[:8]}. See the page Over time. The alarm stands until "
        "it is answered.\n"
    )
    return subject, text


def _words_of_missing(published: Published, alarm: Monitor, floor: float) -> tuple[str, str]:
    """The same for studies that do not reach us."""
    assert alarm.alarm_week is not None
    subject = f"Silent trial {published.snapshot.trial}: not all studies of {alarm.label} arrive"
    text = (
        f"{published.snapshot.trial_title}\n\n{alarm.label} is {alarm.alarm_reason} since the week of "
        f"{alarm.alarm_week:%d %b %Y}: of {alarm.present} studies that the archive lists, {alarm.found} reached us. "
        f"The floor is {floor:.0%}. Check the routing of this scanner before you read its sensitivity.\n\n"
        f"Snapshot {published.sha256[:8]}; see the page Case accounting. The alarm stands until it is answered.\n"
    )
    return subject, text


def assess_trial(trial: Trial) -> Published | None:
    """Export the ledger, assess, publish; None where nothing has happened since the newest snapshot."""
    from shadow.assessment.completeness import completeness_stream
    from shadow.assessment.monitors import alarm_events, stream_of
    from shadow.assessment.publish import ModelAssessed, assess, publish
    from shadow.store.events import AssessmentPublished
    from shadow.store.lake import Lake

    with _one_at_a_time(trial.home.snapshots / ".lock"), trial.open_ledger() as ledger:
        head = ledger.head()
        newest = _newest(trial)
        last = ledger.since(head.seq - 1)
        published_last = newest and last and last[0].kind == Kind.ASSESSMENT and last[0].key == newest.sha256
        if newest and published_last and newest.snapshot.ledger_seq == head.seq - 1:  # and nothing came meanwhile
            return None
        _, contract = trial.model(trial.protocol.champion.identifier)
        lake = Lake(trial.home.lake)
        lake.export(ledger)
        exported = lake.manifest()  # what is counted, not what was appended meanwhile, is what the snapshot speaks for
        with closing(lake.connect()) as connection:
            snapshot = assess(
                connection,
                protocol=trial.protocol,
                protocol_sha256=trial.protocol_sha256,
                sites=trial.sites,
                model=ModelAssessed(
                    contract.identifier,
                    contract.version,
                    contract.sha256,
                    contract.threshold,
                    contract.demonstration,
                ),
                head=Head(exported.upto, exported.upto_hash),
                data_until=trial.clock.now(),
                completion_minutes=trial.deployment.receiver.quiet_period_seconds / 60,
            )
            published = publish(trial.home.snapshots, snapshot, connection)
        alarms = alarm_events(snapshot.monitoring, stream_of(trial.protocol, contract.threshold))
        if snapshot.completeness is not None and snapshot.completeness.monitoring is not None:
            watched = snapshot.completeness.monitoring
            alarms += alarm_events(watched, completeness_stream(watched.floor))
        known = ledger.known(Kind.ALARM, [one.key for one in alarms])
        ledger.append([one for one in alarms if one.key not in known])
        ledger.append([AssessmentPublished(published.sha256, snapshot.ledger_seq, snapshot.ledger_hash)])
        return published


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
