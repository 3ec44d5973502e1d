"""The rooms and who may import whom, as drawn in the rooms' maps; checked on every import statement there is."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "reamp": {"addons", "captures", "drill", "loadtag", "replayer", "rules"},
    "addons": {"captures", "loadtag", "mitmproxy", "rules"},
    "drill": {"captures", "loadtag", "replayer", "rules"},
    "replayer": {"captures", "loadtag", "rules"},
    "captures": {"loadtag", "rules"},
    "rules": set[str](),
    "loadtag": set[str](),
}
"""What each room may import of the others. Only the sidecar's room knows mitmproxy."""

WATCHED = {*ROOMS, "mitmproxy"}


def sources(room: str) -> list[Path]:
    folder = ROOT / ("loadtag/src/loadtag" if room == "loadtag" else room)
    return sorted(folder.rglob("*.py"))


FOLDERS = sorted(
    {
        ".".join(path.parent.relative_to(ROOT).parts).removeprefix("loadtag.src.")
        for room in ROOMS
        for path in sources(room)
        if path.name == "__init__.py" and "commands" not in path.parts
    }
    - ROOMS.keys()
)
"""Folders inside a room, each with a map of its own. Commands have none: `reamp --help` tells what they are."""


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def neighbours(path: Path) -> set[str]:
    """The parts of the replayer that a file imports: its folders and flat modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "replayer":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("replayer."):
            names.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("replayer.")}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_map_allows(room: str) -> None:
    assert sources(room)
    for path in sources(room):
        forbidden = imported(path) & WATCHED - ROOMS[room] - {room}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {forbidden}"


@pytest.mark.parametrize("room", [*ROOMS, *FOLDERS])
def test_every_room_has_a_map_that_names_its_modules(room: str) -> None:
    module = importlib.import_module(room)
    map_ = module.__doc__ or ""
    folder = Path(module.__file__ or "").parent
    for path in folder.iterdir():
        name = path.stem if path.suffix == ".py" else path.name if (path / "__init__.py").exists() else "_"
        if not name.startswith("_"):
            assert re.search(rf"\b{name}\b", map_), f"the map of {room} does not name {name}"


def test_the_replayers_parts_import_only_what_stands_above_them_in_its_map() -> None:
    found = (ROOT / "replayer").iterdir()
    parts = [one.stem for one in found if one.suffix == ".py" or (one / "__init__.py").exists()]
    parts.remove("__init__")
    map_ = importlib.import_module("replayer").__doc__ or ""
    above: set[str] = set()
    for part in (name for name in re.findall(r"`(\w+)`", map_) if name in parts):
        path = ROOT / "replayer" / part
        for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            below = neighbours(file) - above - {part}
            assert not below, f"{file.relative_to(ROOT)} imports {below}, which the map names only after {part}"
        above.add(part)
    assert above == set(parts), "every part is in the map"


def test_the_linter_bans_the_same_imports(tmp_path: Path) -> None:
    """Planted in a copy of the room, each forbidden import is found by ruff with the repository's own settings."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for room, allowed in ROOMS.items():
        folder = tmp_path / room
        folder.mkdir()
        (folder / "ruff.toml").write_text((ROOT / room / "ruff.toml").read_text())
        forbidden = sorted(WATCHED - allowed - {room})
        (folder / "planted.py").write_text("".join(f"import {name}.x\n" for name in forbidden))
        command = [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--select",
            "TID251",
            "--output-format",
            "concise",
            str(folder),
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
        for line, name in enumerate(forbidden, 1):
            assert f"planted.py:{line}:" in found, f"{room} may import {name}, says the linter: {found}"
