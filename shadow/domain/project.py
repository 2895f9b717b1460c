"""Where the project's own files (sql, dags, configs and others) lie: in the checkout, else in the wheel."""

from __future__ import annotations

from pathlib import Path

import shadow


def project_folder(name: str) -> Path:
    """The folder of that name beside the package in a checkout, or inside the installed package."""
    package = Path(shadow.__file__).resolve().parent
    inside = package / "_project" / name
    return inside if inside.is_dir() else package.parent / name


def sql(path: str) -> str:
    """One SQL statement of the project, by its path under sql/."""
    return (project_folder("sql") / path).read_text(encoding="utf-8")
