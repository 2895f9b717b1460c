"""Journaled HL7 messages become report versions and labels."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, dag, task

from shadow.adapters.airflow_doorbell import Doorbell
from shadow.adapters.airflow_tasks import every_minute, task_defaults

DOOR = Asset("messages-in-the-journal", watchers=[AssetWatcher("journal", trigger=Doorbell("journal"))])


@dag(
    schedule=AssetOrTimeSchedule(timetable=every_minute(), assets=[DOOR]),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=task_defaults(),
)
def shadow_reports():
    @task(outlets=[Asset("reports")])
    def receive_reports():
        from shadow.adapters.airflow_tasks import work_or_skip
        from shadow.wiring.tasks import drain_reports

        return work_or_skip(drain_reports())

    receive_reports()


shadow_reports()
