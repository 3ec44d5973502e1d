"""Add-on: notes which traces synthetic requests bear, and which ones real requests do, for the egress.

It comes after all that may refuse a request, and after `capture`, whose records hold what came. Real requests are not
changed. A synthetic one that bears no trace begins one here, and so does one whose trace a real request may bear, too;
where none can be had it is refused. Apps that pass a trace on, and know nothing of load tags, then say by it which of
their calls are synthetic.

Dark copies fare alike: those that come in, and are believed to be some, and those that go out (`Learning.apart`), which
bear a user's trace otherwise.
"""

import secrets
import time
from collections.abc import Sequence
from typing import cast

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from addons.dark.mark import marked
from addons.glance import DARK, TRACED, Fields, glance
from addons.passage import KIND, REFUSED, RUN
from addons.refusal import refuse
from addons.traceheaders import LOW, STYLES, Style, came_of, find, strip, write
from addons.traces import Learnt, Run, Traces
from loadtag import headers

_TRIES = 8
"""Traces that are drawn at most: with a filter that is nearly full, the first ones may look like real ones."""


class Learning:
    """What one worker sees of traces."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._styles: tuple[Style, ...] = ()
        self._sampled = False

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option(
            "reamp_trace",
            Sequence[str],
            ["traceparent"],
            f"Headers in which a synthetic request without a trace begins one: {', '.join(STYLES)}.",
        )
        loader.add_option("reamp_trace_sampled", bool, False, "Have the tracing of apps keep the traces begun here.")

    def configure(self, updated: set[str]) -> None:
        """Take the options over."""
        styles = ctx.options.reamp_trace
        if unknown := set(styles) - set(STYLES):
            raise exceptions.OptionsError(f"reamp_trace: {min(unknown)!r} is none of {', '.join(STYLES)}")
        self._styles = tuple(cast("Style", style) for style in styles)
        self._sampled = ctx.options.reamp_trace_sampled

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Note the trace of a request."""
        fields, kind = flow.request.data.headers.fields, flow.metadata.get(KIND)
        seen = glance(fields)[0]
        if kind == "synthetic":
            found = headers.find(fields)
            if found is not None and found.token is not None:
                self._learn(flow, Run(found.token, flow.metadata[RUN]))
        elif seen & DARK and (name := marked(fields)):  # who may not say so has had it taken away
            self._learn(flow, Run.of_copies(name))
        elif seen & TRACED:
            now = int(time.monotonic())
            for key in find(fields):
                # What a dark service calls comes in without its mark, and is untrusted: it is no user's for that.
                if kind == "real" or not self._is_dark(key, now):
                    self._traces.meet_real(key, now)

    def apart(self, fields: Fields, name: str) -> Fields | None:
        """Give the fields of a request for its dark copy, with a trace of the copy's own; None: none can be had.

        By its original's trace, what is called for the copy would be a user's.
        """
        begun = self._begin(Run.of_copies(name), int(time.monotonic()))
        return None if begun is None else (*strip(fields), *begun, *came_of(fields, begun))

    def _is_dark(self, key: int, now: int) -> bool:
        found = self._traces.find(key, now)
        return isinstance(found, Run) and found.dark

    def _learn(self, flow: http.HTTPFlow, run: Run) -> None:
        if REFUSED in flow.metadata or flow.error is not None:
            return
        fields, now = flow.request.headers.fields, int(time.monotonic())
        keys = find(fields)
        learnt = {self._traces.learn(key, run, now) for key in keys}
        if learnt == {Learnt.LEARNT}:
            return
        begun = self._begin(run, now)
        if begun is None:
            # What the app called for it would be taken for a user's, and be left alone: a charge would be one.
            detail = "There is no trace to be had by which the app's calls for it could be told from those for users."
            refuse(flow, 429, "credit", "No trace for synthetic traffic", detail)
            return
        flow.request.headers.fields = (*(strip(fields) if keys else fields), *begun)

    def _begin(self, run: Run, now: int) -> list[tuple[bytes, bytes]] | None:
        """Give the fields of a new trace. None: none can be learnt now."""
        for _ in range(_TRIES):
            trace, span = secrets.randbits(128) | 1, secrets.randbits(64) | 1
            learnt = self._traces.learn(trace & LOW, run, now)
            if learnt is Learnt.MISSED:
                break
            if learnt is Learnt.LEARNT:
                return [field for style in self._styles for field in write(style, trace, span, sampled=self._sampled)]
        return None
