"""How often tokens of the control port may be guessed: so often from one address, and so often in all."""

import ipaddress
import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

PER_ADDRESS = 10
"""Wrong tokens a minute from one address (IPv6: from one network of 64 bits, of which one customer has them all)."""

IN_ALL = 100
"""The same from all addresses together. It also bounds what is remembered of them."""


class Attempts:
    """Counts wrong tokens, and tells how long no more of them are looked at."""

    def __init__(self, per_address: int = PER_ADDRESS, in_all: int = IN_ALL) -> None:
        self._address, self._all = RateLimitItemPerMinute(per_address), RateLimitItemPerMinute(in_all)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def pause(self, address: str) -> int:
        """Tell for how many seconds an address should not try again; 0: it may now."""
        return max(self._left(self._all, "all"), self._left(self._address, _group(address)))

    def failed(self, address: str) -> None:
        """Count a wrong token."""
        self._limiter.hit(self._all, "all")
        self._limiter.hit(self._address, _group(address))

    def _left(self, item: RateLimitItem, key: str) -> int:
        if self._limiter.test(item, key):
            return 0
        return max(1, math.ceil(self._limiter.get_window_stats(item, key).reset_time - time.time()))


def _group(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
