"""What vegeta 12 does with the flags that our script gives it, for where vegeta is not installed.

``attack`` sends the targets of a file in JSON in turn at a rate, each at its time whether or not others are answered,
and writes a line for each; ``report`` counts them. Of a flag that is not known here, nothing is sent.
"""

import argparse
import base64
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

_UNITS = {"ms": 1e-3, "s": 1.0}


class _Unmoved(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def seconds(text: str) -> float:
    unit = "ms" if text.endswith("ms") else "s"
    return float(text.removesuffix(unit)) * _UNITS[unit]


def attack(given: argparse.Namespace) -> None:
    targets = [json.loads(line) for line in Path(given.targets).read_text().splitlines()]
    freq, _, per = given.rate.partition("/")
    gap, length = seconds(per) / int(freq), seconds(given.duration)
    opener = urllib.request.build_opener(_Unmoved)
    results: list[str] = []

    def send(target: dict[str, object]) -> None:
        headers = {name: value for name, (value,) in target.get("header", {}).items()}  # type: ignore[attr-defined]
        for one in given.header:
            name, _, value = one.partition(":")
            headers[name.strip()] = value.strip()
        body = base64.b64decode(str(target["body"])) if "body" in target else None
        request = urllib.request.Request(str(target["url"]), body, headers, method=str(target["method"]))
        try:
            with opener.open(request, timeout=seconds(given.timeout)) as answer:
                results.append(str(answer.status))
        except urllib.error.HTTPError as error:
            results.append(str(error.code))

    begun, threads = time.monotonic(), []
    for number, target in enumerate(targets):
        if number * gap > length:
            results.append("no targets left to send: one hit too many")
            break
        time.sleep(max(0.0, begun + number * gap - time.monotonic()))
        threads.append(threading.Thread(target=send, args=(target,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    if len(targets) * gap < length:
        results.append("asked for more targets than there are")
    Path(given.output).write_text("".join(f"{one}\n" for one in results))


def main(arguments: list[str]) -> None:
    if arguments[0] == "report":
        lines = [line for name in arguments[1:] for line in Path(name).read_text().splitlines()]
        print(f"Requests [total] {len(lines)}")
        return
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("name", "format", "targets", "output", "rate", "duration", "redirects", "timeout", "max-body"):
        parser.add_argument(f"-{name}", required=True)
    parser.add_argument("-lazy", action="store_true")
    parser.add_argument("-header", action="append", default=[])
    given = parser.parse_args(arguments[1:])
    if given.format != "json" or not given.lazy or given.redirects != "-1":
        parser.error("not as expected")
    attack(given)


if __name__ == "__main__":
    main(sys.argv[1:])
