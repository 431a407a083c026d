"""A framework that is imported when it is first used: to collect tests takes none."""

from __future__ import annotations

import importlib
from typing import Any


class Lazily:
    """Stands for a module: `keras: Any = Lazily("keras")`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest looks at whatever stands in a module
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
