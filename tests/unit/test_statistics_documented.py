import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "shadow" / "assessment" / "statistics"
DOCUMENT = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(ROOM.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_public_function_is_in_the_table_of_methods(path: Path) -> None:
    functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    public = [name for name in functions if not name.startswith("_")]
    missing = [name for name in public if f"{name}`" not in DOCUMENT]
    assert not missing
    assert f"`{path.stem}." in DOCUMENT
