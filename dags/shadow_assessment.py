"""Predictions and reports are joined, counted and published as a snapshot; alarms are told of, once."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, dag, task

from shadow.adapters.airflow_tasks import snapshot_interval, task_defaults


@dag(
    schedule=AssetOrTimeSchedule(timetable=snapshot_interval(), assets=Asset("predictions") | Asset("reports")),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=task_defaults(),
)
def shadow_assessment():
    @task(outlets=[Asset("snapshots")])
    def publish():
        from shadow.adapters.airflow_tasks import work_or_skip
        from shadow.wiring.assessing import publish_assessment

        return work_or_skip(publish_assessment())

    @task
    def notify():
        from shadow.wiring.assessing import notify_alarms

        return notify_alarms()

    publish() >> notify()


shadow_assessment()
