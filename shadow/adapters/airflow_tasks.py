"""What the DAGs share: when a task counts as skipped, and which failures are worth a second try."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, DeltaTriggerTimetable
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowSkipException

INTERVAL_VARIABLE = "SHADOW_SNAPSHOT_INTERVAL_SECONDS"
DEFAULT_INTERVAL_SECONDS = 60.0
SHORT_PAUSE = timedelta(seconds=2)
LANE_PAUSE = timedelta(seconds=10)


def work_or_skip(count: int) -> int:
    """The count of what was done; where it is none the task is skipped, so that nothing downstream starts.

    Raises:
        AirflowSkipException: the count is 0.
    """
    if count == 0:
        raise AirflowSkipException("nothing was waiting")
    return count


def retry_policy() -> ExceptionRetryPolicy:
    """A lane that another process holds is tried again later; a wrong set-up fails at once; the rest soon.

    Every error that the harness raises on purpose says that a person must act (a key file, a migration, a
    model's digest): trying again only hides it. What the disk, a socket or a database raises may pass.
    """
    return ExceptionRetryPolicy(
        rules=[
            RetryRule("shadow.domain.errors.LaneBusy", RetryAction.RETRY, LANE_PAUSE, "the lane is held"),
            RetryRule("shadow.domain.errors.ShadowError", RetryAction.FAIL, reason="the set-up is wrong"),
            RetryRule(OSError, RetryAction.RETRY, SHORT_PAUSE, "the machine may recover"),
        ],
        default=RetryAction.DEFAULT,
    )


def task_defaults() -> dict[str, object]:
    """What every task has: three retries under the policy, and an end after a quarter of an hour."""
    return {
        "retries": 3,
        "retry_delay": SHORT_PAUSE,
        "retry_policy": retry_policy(),
        "execution_timeout": timedelta(minutes=15),
    }


def every_minute() -> CronTriggerTimetable:
    """The safety net below the journal's doorbell, which never rings twice for one message."""
    return CronTriggerTimetable("* * * * *", timezone="UTC")


def nightly() -> CronTriggerTimetable:
    """When routers and archives have little to do. A run that was missed is made up by the next one's days."""
    return CronTriggerTimetable("30 3 * * *", timezone="UTC")


def every_five_minutes() -> CronTriggerTimetable:
    """The safety net below a queue's doorbell, which rings again by itself after half a minute."""
    return CronTriggerTimetable("*/5 * * * *", timezone="UTC")


def snapshot_interval() -> DeltaTriggerTimetable:
    """How often a snapshot is published, as the deployment file says."""
    seconds = float(os.environ.get(INTERVAL_VARIABLE, str(DEFAULT_INTERVAL_SECONDS)))
    return DeltaTriggerTimetable(timedelta(seconds=seconds))
