"""Results of vendors' products that run elsewhere are locked like predictions."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, dag, task

from shadow.adapters.airflow_doorbell import Doorbell
from shadow.adapters.airflow_tasks import every_five_minutes, task_defaults

DOOR = Asset("results-of-vendors", watchers=[AssetWatcher("vendor", trigger=Doorbell("vendor"))])


@dag(
    schedule=AssetOrTimeSchedule(timetable=every_five_minutes(), assets=[DOOR]),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=task_defaults(),
)
def shadow_vendor_results():
    @task(outlets=[Asset("predictions")])
    def lock_results():
        from shadow.adapters.airflow_tasks import work_or_skip
        from shadow.wiring.tasks import drain_vendor_results

        return work_or_skip(drain_vendor_results())

    lock_results()


shadow_vendor_results()
