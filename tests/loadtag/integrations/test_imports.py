"""An app loads what it uses: each hook imports its own library, and the package imports none."""

import ast
import sys
from pathlib import Path

import pytest

import loadtag.integrations

FOLDER = Path(loadtag.integrations.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_each_module_imports_the_library_that_it_is_named_for_and_no_other(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    named = {path.stem} if path.stem not in {"__init__", "hooking", "stepping", "kafka"} else set()
    assert found - sys.stdlib_module_names - {"loadtag"} == named
