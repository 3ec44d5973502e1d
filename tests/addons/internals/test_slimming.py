"""A worker without mitmproxy's stock add-ons; in processes of its own, as it concerns what is imported."""

import subprocess
import sys

from tests.support.processes import ROOT

TOLD = """
from addons.internals.slimming import slim
print(slim(), "flask" in sys.modules)
import addons.processes.worker
print(addons.processes.worker.Sidecar.__name__)
"""

REFUSING = """
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name == "mitmproxy.addons.tlsconfig":
            sys.meta_path.remove(self)
            raise ImportError("not here")

sys.meta_path.insert(0, Refusing())
"""


def told(before: str = "") -> list[str]:
    code = f"import sys\n{before}\n{TOLD}"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return (ended.stdout + ended.stderr).splitlines()


def test_a_worker_needs_none_of_them() -> None:
    assert told() == ["True False", "Sidecar"]


def test_who_has_them_already_keeps_them() -> None:
    assert told("import mitmproxy.addons") == ["False True", "Sidecar"]


def test_a_mitmproxy_that_can_not_do_without_them_is_taken_whole() -> None:
    found = told(REFUSING)
    assert found[:2] == ["False False", "Sidecar"]
    assert "workers start slowly" in found[2]
