"""Each night every site's archive is asked what it had for the trial, and what never reached us is put on record."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, dag, task

from shadow.adapters.airflow_tasks import nightly, task_defaults


@dag(
    schedule=nightly(),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=4),
    default_args=task_defaults() | {"execution_timeout": timedelta(hours=3)},
)
def shadow_reconciliation():
    @task(outlets=[Asset("archive-listings")])
    def reconcile():
        from shadow.adapters.airflow_tasks import work_or_skip
        from shadow.wiring.archives import reconcile_archives

        return work_or_skip(reconcile_archives())

    reconcile()


shadow_reconciliation()
