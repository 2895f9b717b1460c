"""Spooled studies are admitted: excluded with a reason, or de-identified and handed to the models.

A DAG of its own: it stays awake for studies that no model will see, and must not hold up the models' lanes.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, dag, task

from shadow.adapters.airflow_doorbell import Doorbell
from shadow.adapters.airflow_tasks import every_five_minutes, task_defaults

DOOR = Asset("studies-at-the-door", watchers=[AssetWatcher("admission", trigger=Doorbell("admission"))])


@dag(
    schedule=AssetOrTimeSchedule(timetable=every_five_minutes(), assets=[DOOR]),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=task_defaults(),
)
def shadow_admission():
    @task(outlets=[Asset("admissions")])
    def admit_studies():
        from shadow.adapters.airflow_tasks import work_or_skip
        from shadow.wiring.tasks import drain_admissions

        return work_or_skip(drain_admissions())

    admit_studies()


shadow_admission()
