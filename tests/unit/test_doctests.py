import doctest
import importlib
import pkgutil

import pytest

from shadow.assessment import statistics

ROOM = pkgutil.iter_modules(statistics.__path__, statistics.__name__ + ".")
MODULES = ["shadow.assessment.accuracy", "shadow.adapters.log_lines", *(one.name for one in ROOM)]


@pytest.mark.parametrize("name", MODULES)
def test_every_example_is_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0 and found.failed == 0
