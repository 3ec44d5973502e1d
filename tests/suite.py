"""All tests, several at a time; then the files in which one failed once more, by themselves: ``python -m tests.suite``.

Tests start hundreds of real processes, and wait for them. Where they share a machine, now and then one gets too late
what it waits for, each time another one. That is no fault of the product, if it goes well with the machine to itself.
The whole file is run again, with all that its tests share and what is judged of them together. What failed first is
told in full before. If much fails, that is no chance, and nothing is tried again.
"""

import subprocess
import sys

import pytest

MOST = 5
"""Files with failures that are tried again."""


class _Failures:
    """Notes the files in which something failed."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's, in whichever process it ran."""
        if report.failed:
            self.files[report.nodeid.partition("::")[0]] = None


def main(options: list[str]) -> int:
    """Run them with these options of pytest, and give pytest's exit code."""
    failures = _Failures()
    code = int(pytest.main(options, plugins=[failures]))
    files = list(failures.files)
    if code != pytest.ExitCode.TESTS_FAILED or not 0 < len(files) <= MOST:
        return code
    print(f"\nOnce more, by themselves: {', '.join(files)}\n", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *files], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
