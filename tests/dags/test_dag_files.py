"""The DAG files say what runs after what, and nothing else."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shadow.domain.project import project_folder

DAG_FILES = sorted(project_folder("dags").glob("*.py"))
LOGIC = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith, ast.Match,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda, ast.BoolOp, ast.Assert, ast.Raise,
)  # fmt: skip


def test_there_are_dag_files() -> None:
    assert {path.stem for path in DAG_FILES} == {
        "shadow_admission",
        "shadow_inference",
        "shadow_reports",
        "shadow_assessment",
        "shadow_vendor_results",
        "shadow_reconciliation",
    }


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_dag_file_holds_no_logic(path: Path) -> None:
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, LOGIC)]
    assert not [f"line {node.lineno}: {type(node).__name__}" for node in found]


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_dag_file_imports_nothing_heavy_while_it_is_parsed(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").startswith(("airflow.", "shadow.adapters.airflow_", "datetime"))
        assert not isinstance(node, ast.Import)


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_task_is_one_call_of_the_wiring(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    tasks = [node for node in functions if ast.unparse(node.decorator_list[0]).split("(")[0] == "task"]
    assert tasks
    for task in tasks:
        *imports, last = task.body
        assert all(isinstance(node, ast.ImportFrom) for node in imports)
        modules = [node.module or "" for node in imports if isinstance(node, ast.ImportFrom)]
        assert modules[-1].startswith("shadow.wiring.")
        assert isinstance(last, ast.Return)
        assert isinstance(last.value, ast.Call)


def test_every_name_that_a_task_takes_from_the_wiring_is_there() -> None:
    wanted = {
        (node.module, alias.name)
        for path in DAG_FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shadow.wiring.")
        for alias in node.names
    }
    assert wanted
    for module, name in wanted:
        file = project_folder("dags").parent.joinpath(*str(module).split(".")).with_suffix(".py")
        assert name in {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


DESCRIBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
tasks = [
    {"dag": dag.dag_id, "runs": dag.max_active_runs, "catchup": dag.catchup, "task": task.task_id,
     "retries": task.retries, "policy": task.retry_policy is not None,
     "limit": task.execution_timeout is not None, "outlets": [one.name for one in task.outlets],
     "upstream": sorted(task.upstream_task_ids)}
    for dag in bag.dags.values() for task in dag.tasks
]
print("\\n" + json.dumps({"errors": bag.import_errors, "tasks": tasks}))
"""


def test_airflow_reads_every_dag_file(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    run = subprocess.run(
        [sys.executable, "-c", DESCRIBE, str(project_folder("dags"))],
        env=environment | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    described = json.loads(run.stdout.splitlines()[-1])
    assert described["errors"] == {}
    tasks = {(one["dag"], one["task"]): one for one in described["tasks"]}
    assert set(tasks) == {
        ("shadow_admission", "admit_studies"),
        ("shadow_inference", "list_models"),
        ("shadow_inference", "run_model"),
        ("shadow_reports", "receive_reports"),
        ("shadow_vendor_results", "lock_results"),
        ("shadow_reconciliation", "reconcile"),
        ("shadow_assessment", "publish"),
        ("shadow_assessment", "notify"),
    }
    for one in tasks.values():
        assert (one["runs"], one["catchup"], one["retries"]) == (1, False, 3)
        assert one["policy"]
        assert one["limit"]
    assert tasks["shadow_inference", "run_model"]["upstream"] == ["list_models"]
    assert tasks["shadow_inference", "run_model"]["outlets"] == ["predictions"]
    assert tasks["shadow_reports", "receive_reports"]["outlets"] == ["reports"]
