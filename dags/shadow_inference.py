"""Admitted studies get their prediction, or their counted failure: one lane a model."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, dag, task

from shadow.adapters.airflow_doorbell import Doorbell
from shadow.adapters.airflow_tasks import every_five_minutes, task_defaults

DOOR = Asset("studies-for-the-models", watchers=[AssetWatcher("models", trigger=Doorbell("models"))])


@dag(
    schedule=AssetOrTimeSchedule(timetable=every_five_minutes(), assets=[DOOR]),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=task_defaults(),
)
def shadow_inference():
    @task
    def list_models():
        from shadow.wiring.tasks import model_identifiers

        return model_identifiers()

    @task(outlets=[Asset("predictions")])
    def run_model(model):
        from shadow.adapters.airflow_tasks import work_or_skip
        from shadow.wiring.tasks import drain_model

        return work_or_skip(drain_model(model))

    run_model.expand(model=list_models())


shadow_inference()
