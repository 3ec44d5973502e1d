"""A real Prometheus on loopback, if this machine has one."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Process, eventually, free_port


class Server:
    """Scrapes `targets` (HOST:PORT) every second. Use `process` as a context manager."""

    def __init__(self, folder: Path, targets: Sequence[str] = ()) -> None:
        """Start it. Skips the test where there is none to start."""
        found = shutil.which("prometheus")
        if found is None:
            pytest.skip("there is no prometheus here (Debian: apt-get install prometheus)")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "prometheus.yml"
        scraped = ", ".join(f"'{target}'" for target in targets)
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: [{scraped}]}}]}}]\n"
        )
        self._command = [
            *(found, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"),
        ]
        self._log = folder / "prometheus.out"
        self.process = self.start()

    def start(self) -> Process:
        """Start it, anew if it has ended, and wait until it answers queries: it listens long before that."""
        self.process = Process(self._command, self._log).ready(self.port)
        try:
            eventually(self._answers, 30)
        except BaseException:
            self.process.kill()
            raise
        return self.process

    def _answers(self) -> bool:
        try:
            asked = httpx.get(f"{self.url}/api/v1/query", params={"query": "1"}, trust_env=False, verify=False)
        except httpx.TransportError:
            return False
        return asked.status_code == 200
