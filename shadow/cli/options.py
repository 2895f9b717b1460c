"""What every verb that works on a trial's folder takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="SHADOW_HOME", help="The trial's folder.", show_default=True)
]
DEFAULT_HOME = Path("var")
