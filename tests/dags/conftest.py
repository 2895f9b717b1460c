"""Airflow reads its folder when it is first imported: give it one of its own, before any test imports it."""

import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-of-the-tests-")
