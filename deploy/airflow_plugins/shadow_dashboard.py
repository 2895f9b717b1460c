"""The dashboard as a page inside Airflow."""

from __future__ import annotations

import os

from airflow.plugins_manager import AirflowPlugin


class ShadowDashboard(AirflowPlugin):  # type: ignore[misc] # airflow is not typed
    """One entry in the navigation, which shows the dashboard where the supervisor started it."""

    name = "shadow_dashboard"
    external_views = [  # noqa: RUF012 - Airflow reads a plain class attribute
        {
            "name": "Silent trial",
            "href": os.environ.get("SHADOW_DASHBOARD_URL", "http://127.0.0.1:8501/"),
            "destination": "nav",
            "category": "browse",
            "url_route": "silent-trial",
        }
    ]
