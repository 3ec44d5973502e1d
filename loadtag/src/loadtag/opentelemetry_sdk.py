"""What marks the spans of synthetic requests, for apps with the package ``opentelemetry-sdk``.

    provider.add_span_processor(LoadTagSpanProcessor())

or `loadtag.opentelemetry.instrument`, which sees to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from opentelemetry.sdk.trace import SpanProcessor

from loadtag.context import Served
from loadtag.faults import tell
from loadtag.opentelemetry import served_in

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span

_marked: WeakSet[Any] = WeakSet()


class LoadTagSpanProcessor(SpanProcessor):
    """Marks spans that begin while a synthetic request is served, or a dark copy.

    ``user_agent.synthetic.type`` is ``test`` then (a name of OpenTelemetry's semantic conventions), and
    ``loadtest.run_id`` the run's id; of a dark copy ``reamp.dark`` is the name. Exporters may stand before it or after
    it: attributes are set as a span begins.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Mark a span that begins."""
        try:
            served = served_in(parent_context)
            if served is None:
                return
            if isinstance(served, Served):
                span.set_attribute("user_agent.synthetic.type", "test")
                span.set_attribute("loadtest.run_id", served.tag.run_id)
            else:
                span.set_attribute("reamp.dark", served.name)
        except Exception as error:  # noqa: BLE001 - no fault of ours may reach the app
            tell(f"a span can't be marked: {type(error).__name__}")


def mark_spans_of(provider: Any) -> None:
    """Give the SDK's tracer provider a `LoadTagSpanProcessor`, unless it has been given one here before."""
    if provider not in _marked:
        _marked.add(provider)
        provider.add_span_processor(LoadTagSpanProcessor())
