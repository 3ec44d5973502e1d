"""What importing the package costs an app."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

APP_SIDE = "import loadtag, loadtag.asgi, loadtag.wsgi, loadtag.headers, loadtag.context"


def run(code: str, cache: Path) -> Any:
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, check=True, timeout=50
    )
    return json.loads(done.stdout)


def test_an_app_loads_nothing_but_the_standard_library(tmp_path: Path) -> None:
    code = f"import sys, json; before = set(sys.modules); {APP_SIDE}; print(json.dumps([*set(sys.modules) - before]))"
    roots = {name.partition(".")[0] for name in run(code, tmp_path)}
    assert roots - set(sys.stdlib_module_names) == {"loadtag"}
    # Of the standard library too, nothing that opens a socket, starts a loop or loads OpenSSL.
    assert not roots & {"asyncio", "socket", "ssl", "http", "urllib", "hashlib", "logging", "email"}


def test_an_app_can_tell_without_a_key(tmp_path: Path) -> None:
    code = (
        "import sys, json, loadtag; from loadtag.headers import unverified_tag\n"
        "token = loadtag.format_token(loadtag.LoadTag('k', 'run-1', 1, 'shop'), bytes(64))\n"
        "tag = unverified_tag([(b'baggage', b'loadtest=' + token.encode())])\n"
        "print(json.dumps([tag.run_id, 'cryptography' in sys.modules]))"
    )
    assert run(code, tmp_path) == ["run-1", False]


def test_it_takes_less_than_ten_milliseconds(tmp_path: Path) -> None:
    # Measured as processor time, and the best of some: this is about the package, not about the machine's other work.
    # `typing` and `re` are loaded in every app.
    code = f"import json, re, time, typing; start = time.process_time(); {APP_SIDE}; print(time.process_time() - start)"
    run(code, tmp_path)  # compiles
    assert min(run(code, tmp_path) for _ in range(5)) < 0.010
