"""One lane in a process of its own that a test stops and lets go on: ``LANE PORT NUMBER``. Tells what came of all."""

import json
import sys

import uvloop

from replayer.counting.accounts import Accounts
from tests.support.sending import Host, get, lane, play

TIMEOUT = 2.0


async def _main(name: str, port: str, number: str) -> Accounts:
    host = Host()
    lane(name, host, int(port), max_lag="5s", timeout=TIMEOUT, max_connections=int(number))
    return await play(host, [(0.0, get())] * int(number))


if __name__ == "__main__":
    accounts = uvloop.run(_main(*sys.argv[1:]))
    print(json.dumps({"answered": accounts.answered, "errors": dict(accounts.errors)}))
