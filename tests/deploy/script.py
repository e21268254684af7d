"""Load a script that is no package of ours, as a module."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from tests.deploy.compose_file import ROOT


def load_script(name: str) -> Any:
    """Module made from a file of the repository; its ``__main__`` part does not run."""
    spec = spec_from_file_location(name.replace("/", "_").removesuffix(".py"), ROOT / name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
