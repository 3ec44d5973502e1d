"""Sends announcements, in a process of its own: `python -m replayer.announcing.courier FD`. Edge.

It is told by its run over a `Channel`, and says of each receiver what became of each announcement. Each receiver has
a thread, so that a slow one keeps no other waiting. Apprise has time-outs of its own, 4 s to connect and 4 s for an
answer (``?cto=``, ``?rto=`` in a URL).

It obeys no signal but SIGKILL: whoever ends a run (Ctrl-C, systemd) often signals all its processes, and that the run
was stopped is still to be told. It ends when its run has said its last word and that was told; some seconds after
its run is gone, in any case.

``--check`` reads URLs as a JSON list from standard input, and prints for each what it is called, or null.
"""

import contextlib
import json
import logging
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
from typing import Any
from urllib.parse import unquote

import apprise

from replayer.lanes.channel import Channel

WAITING = 32
"""Announcements that one receiver may be behind."""

TRIES, PAUSE = 2, 1.0
"""How often to try, and seconds between."""

LEAST_PAUSE = 1.0
"""Seconds between two announcements to one receiver, where Apprise would wait for longer (5.5 s for mail): there are
few (`pace`), and the last one must not come too late."""

FAREWELL = 15.0
"""Seconds to go on for after the run is gone."""

SHORTEST_SECRET = 4
"""Characters. Parts of a URL that are as long are blotted out of what Apprise gives as a reason."""


def notifier(url: str) -> "apprise.NotifyBase | None":
    """Make what sends to a URL; None: Apprise knows no such URL."""
    quiet()
    with contextlib.suppress(Exception):  # whatever a plugin makes of a URL that it does not understand
        made: apprise.NotifyBase | None = apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(app_id="reamp"))
        if made is not None:
            made.request_rate_per_sec = min(made.request_rate_per_sec, LEAST_PAUSE)
        return made
    return None


def quiet() -> None:
    """Let nobody log a URL, or what is sent there."""
    for name in ("apprise", "urllib3", "requests"):
        logging.getLogger(name).propagate = False


def harmless(reason: str, url: str) -> str:
    """Blot out of a reason what is of a URL: any part of it may be the secret, the host too (slack://TOKEN/...)."""
    _, _, rest = url.partition("://")
    parts = {part for text in (rest, unquote(rest)) for part in re.split(r"[^A-Za-z0-9_.-]+", text)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            reason = re.sub(re.escape(part), "...", reason, flags=re.IGNORECASE)
    return reason


class _Reasons(logging.Handler):
    """Keeps the last complaint of each thread: Apprise itself says only that it did not work."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._local = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self._local.last = record.getMessage()

    def take(self) -> str:
        last, self._local.last = getattr(self._local, "last", ""), ""
        return str(last)


class _Receiver(threading.Thread):
    def __init__(self, number: int, url: str, courier: "_Courier") -> None:
        super().__init__(daemon=True)
        self._number, self._url, self._courier = number, url, courier
        self._notifier = notifier(url)
        self.queue: queue.Queue[dict[str, Any]] = queue.Queue(WAITING)

    def run(self) -> None:
        while True:
            message = self.queue.get()
            trouble = self._send(self._notifier, message) if self._notifier else "Apprise does not know it"
            self._courier.answer(message["n"], self._number, trouble)
            self.queue.task_done()

    def _send(self, made: "apprise.NotifyBase", message: dict[str, Any]) -> str:
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE)
            self._courier.reasons.take()
            try:
                sent = made.notify(
                    body=message["body"],
                    title=message["title"],
                    notify_type=apprise.NotifyType(message["kind"]),
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises, the others go on
                sent, reason = False, type(error).__name__
            else:
                reason = harmless(self._courier.reasons.take(), self._url)
            if sent:
                return ""
        return reason or "it did not take it"


class _Courier:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._receivers: list[_Receiver] = []
        self._orphaned: dict[str, Any] | None = None
        self.reasons = _Reasons()
        logging.getLogger("apprise").addHandler(self.reasons)

    def answer(self, number: int, receiver: int, trouble: str) -> None:
        with self._lock:
            self._channel.say(n=number, receiver=receiver, trouble=trouble)

    def serve(self) -> None:
        while not self._channel.closed:
            self._channel.wait(time.monotonic() + 1)
            for message in self._channel.heard():
                self._take(message)
            with self._lock:
                self._channel.flush()
        if self._orphaned is not None:
            self._hand_out(self._orphaned)

    def _take(self, message: dict[str, Any]) -> None:
        if "urls" in message:
            self._receivers = [_Receiver(number, url, self) for number, url in enumerate(message["urls"])]
            with contextlib.suppress(OSError):
                os.nice(10)  # whoever sends requests goes first, but for the beginning: it waits for this then
            for receiver in self._receivers:
                receiver.start()
            self._orphaned = message["orphaned"]
            with self._lock:
                self._channel.say(ready=True)
        elif "last" in message:
            self._orphaned = None
        else:
            self._hand_out(message)

    def _hand_out(self, message: dict[str, Any]) -> None:
        for number, receiver in enumerate(self._receivers):
            try:
                receiver.queue.put_nowait(message)
            except queue.Full:
                self.answer(message["n"], number, f"it is {WAITING} announcements behind")

    def finish(self) -> None:
        """Wait until all is told."""
        for receiver in self._receivers:
            receiver.queue.join()


def _check() -> None:
    print(
        json.dumps(
            [None if (made := notifier(url)) is None else str(made.service_name) for url in json.load(sys.stdin)]
        )
    )


def main() -> None:
    """Serve a run, or check URLs."""
    if sys.argv[1:] == ["--check"]:
        _check()
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    quiet()
    courier = _Courier(Channel(socket.socket(fileno=int(sys.argv[1]))))
    courier.serve()
    threading.Timer(FAREWELL, os._exit, (0,)).start()
    courier.finish()
    os._exit(0)  # whatever a plugin has left behind


if __name__ == "__main__":
    main()
