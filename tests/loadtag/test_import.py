"""What importing the package costs an app."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

APP_SIDE = "import loadtag, loadtag.asgi, loadtag.wsgi, loadtag.context, loadtag.propagation"


def run(code: str, cache: Path) -> Any:
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, check=True, timeout=50
    )
    return json.loads(done.stdout)


def test_an_app_loads_nothing_but_the_standard_library(tmp_path: Path) -> None:
    code = f"import sys; before = {{*sys.modules}}; {APP_SIDE}; after = {{*sys.modules}}; import json; "
    code += "print(json.dumps([*after - before]))"
    roots = {name.partition(".")[0] for name in run(code, tmp_path)}
    assert roots - set(sys.stdlib_module_names) == {"loadtag"}
    # Of the standard library too, nothing that takes longer than all of this.
    heavy = {"asyncio", "socket", "ssl", "http", "urllib", "hashlib", "logging", "email", "concurrent", "threading"}
    assert not roots & (heavy | {"re", "typing", "enum", "inspect", "dataclasses", "collections", "base64"})


def test_what_an_app_does_not_need_is_loaded_when_it_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys, json, loadtag; before = 'loadtag.signing' in sys.modules\n"
        "from loadtag import *\n"
        "assert loadtag.Signer is Signer is __import__('loadtag.signing').signing.Signer\n"
        "try: loadtag.nonsense\n"
        "except AttributeError as error: told = str(error)\n"
        "print(json.dumps([before, set(loadtag.__all__) <= set(globals()), told]))"
    )
    assert run(code, tmp_path) == [False, True, "module 'loadtag' has no attribute 'nonsense'"]


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
    code = f"import json, time; start = time.process_time(); {APP_SIDE}; print(time.process_time() - start)"
    run(code, tmp_path)  # compiles
    assert min(run(code, tmp_path) for _ in range(5)) < 0.010
