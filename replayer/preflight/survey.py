"""What a recording holds, as far as a preflight asks. Pure: records come in."""

from collections import Counter
from collections.abc import Callable, Container

from captures.records import Record
from loadtag import headers
from replayer.comparing.routes import Route, Routes
from replayer.requests.writes import Writes

_MOST = 4096
"""Names of hosts, and paths, that are told apart. A recording made by an attacker may have any number."""


class Survey:
    """Looks at records, and keeps counts and few of them."""

    def __init__(self, methods: Container[str], writes: Writes, path: Callable[[str], str] = str) -> None:
        """`methods` and `writes` are what may be sent; `path` gives the path that is sent for a recorded one."""
        self.records = 0
        self.tagged = 0
        self.first_tagged: Record | None = None
        self.unsafe = 0
        self.hosts: Counter[str] = Counter()
        """Records by the name of the host they were recorded for, without its port; empty if none is known."""
        self._methods, self._writes, self._path = methods, writes, path
        self._left_out = Routes()
        self._gets: dict[str, tuple[int, Record]] = {}

    def look(self, record: Record) -> None:
        """Count a record."""
        self.records += 1
        host = host_name(record.authority)
        if host in self.hosts or len(self.hosts) < _MOST:
            self.hosts[host] += 1
        if headers.find(record.headers) is not None:
            self.tagged += 1
            self.first_tagged = self.first_tagged or record
            return
        method, path = record.method, self._path(record.path)
        if method not in self._methods and not self._writes.allow(method, path):
            self.unsafe += 1
            self._left_out.all[self._left_out.number(method, path)].left_out += 1
        elif method == "GET" and path[:1] == "/" and not record.body:
            known = self._gets.get(path)
            if known is not None:
                self._gets[path] = (known[0] + 1, known[1])
            elif len(self._gets) < _MOST:
                self._gets[path] = (1, record)

    @property
    def left_out(self) -> list[Route]:
        """The routes that change things and are not allowed, the busiest first."""
        return self._left_out.settled()

    @property
    def canaries(self) -> list[Record]:
        """What reads and was asked for most often: one record of each path, the most frequent first."""
        return [record for _, record in sorted(self._gets.values(), key=lambda pair: -pair[0])]


def host_name(authority: str) -> str:
    """Give the name of a host without its port, as it is compared: ``[::1]:80`` is ``::1``."""
    name = authority.rpartition("@")[2]
    if name.startswith("["):
        return name[1:].partition("]")[0].lower()
    return (name.partition(":")[0] if name.count(":") <= 1 else name).rstrip(".").lower()
