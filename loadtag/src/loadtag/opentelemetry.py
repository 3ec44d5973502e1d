"""The load tag where OpenTelemetry carries what belongs to a request: in its context, its baggage and its propagators.

    from loadtag.opentelemetry import instrument

    instrument()  # once, after the tracer provider was set

or, for those who set all by the environment, ``OTEL_PROPAGATORS=tracecontext,baggage,loadtag`` (loadtag comes last,
since it adds to the baggage that the others wrote). Then whatever passes on traces passes on the tag, too, and
`is_load_test()` knows what OpenTelemetry's own instrumentation took from a request, without middleware of ours.

Needs the package ``opentelemetry-api``; what marks spans is in `opentelemetry_sdk`. Nothing here raises into the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import create_key, get_current, get_value, set_value
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter

from loadtag import propagation
from loadtag.context import Dark, Served, current, elsewhere, serve
from loadtag.faults import tell
from loadtag.headers import BAGGAGE_KEY, find
from loadtag.tag import TagError, parse

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Getter, Setter

_KEY = create_key("loadtag")


def instrument(tracer_provider: Any = None, *, executors: bool = True) -> None:
    """Add the tag to what is propagated and to spans, for the whole process. A second time does nothing.

    Call it when the tracer provider has been set, or give it: spans are marked if the provider is the SDK's. What is
    handed to executors stays part of the request, unless `executors` is False (see `loadtag.concurrency`).
    """
    propagation.prepare(executors=executors)
    from opentelemetry.propagate import get_global_textmap, set_global_textmap  # noqa: PLC0415 - it may be loading us
    from opentelemetry.propagators.composite import CompositePropagator  # noqa: PLC0415
    from opentelemetry.trace import get_tracer_provider  # noqa: PLC0415

    before = get_global_textmap()
    if propagation.FIELDS[1] not in before.fields:
        set_global_textmap(CompositePropagator([before, LoadTagPropagator()]))
    provider = get_tracer_provider() if tracer_provider is None else tracer_provider
    if hasattr(provider, "add_span_processor"):
        from loadtag.opentelemetry_sdk import mark_spans_of  # noqa: PLC0415 - only the SDK has processors

        mark_spans_of(provider)


class LoadTagPropagator(TextMapPropagator):
    """Takes the tag (or the mark of a dark copy) from carriers to OpenTelemetry's context, and puts it on others.

    What is put on a carrier is what the context bears, or else what is being served. It joins the baggage that other
    propagators put there: stand last among them.
    """

    def __init__(self) -> None:
        if served_by not in elsewhere:
            elsewhere.append(served_by)

    def extract(self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter) -> Context:
        """Return the context with what the carrier brings. Where a broken tag comes, there is none."""
        context = get_current() if context is None else context
        try:
            reader = propagation.default_getter if getter is default_getter else getter
            fields = propagation.read(carrier, reader)
            found = propagation.arriving(fields)
            if found is not None:
                return bearing(found, context)
            return baggage.remove_baggage(BAGGAGE_KEY, context) if find(fields) is not None else context
        except Exception as error:  # noqa: BLE001 - no carrier, however strange, may cost a request
            tell(f"a {type(carrier).__name__} can't be read for a load tag: {type(error).__name__}")
            return context

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        """Put on the carrier what the context bears, or else what is being served."""
        served = served_in(context)
        if served is None:
            return
        try:
            there = _readable(carrier) and propagation.read(carrier, propagation.default_getter)
            with serve(served):
                if there is False:  # only to be written to: all of the baggage has to be written at once
                    written: dict[str, str] = {}
                    W3CBaggagePropagator().inject(written, context)
                    propagation.inject(carrier, setter, _Reader(written))
                elif there or setter is default_setter:
                    propagation.inject(carrier)  # their setters may add a second field instead of replacing the first
                else:
                    propagation.inject(carrier, setter)
        except Exception as error:  # noqa: BLE001 - as above
            tell(f"a {type(carrier).__name__} can't be given the load tag: {type(error).__name__}")

    @property
    def fields(self) -> set[str]:
        """The names of what is put on carriers."""
        return set(propagation.FIELDS)


def served_by(context: Context | None = None) -> Served | Dark | None:
    """Tell what a context of OpenTelemetry's bears: put there by `LoadTagPropagator`, or as a member of its baggage.

    None stands for the current context.
    """
    try:
        found = get_value(_KEY, context)
        token = baggage.get_baggage(BAGGAGE_KEY, context)
        if isinstance(token, str):
            return found if isinstance(found, Served) and found.token == token else Served(parse(token).tag, token)
        return found if isinstance(found, Dark) else None  # the baggage of a `Served` was cleared
    except TagError:
        return None
    except Exception as error:  # noqa: BLE001 - as above
        tell(f"OpenTelemetry's context can't be read for a load tag: {type(error).__name__}")
        return None


def served_in(context: Context | None) -> Served | Dark | None:
    """Tell what is served by whoever has this context: what it bears, or else what is being served here and now."""
    return (None if context is None else served_by(context)) or current()


def bearing(served: Served | Dark | None, context: Context | None = None) -> Context:
    """Return the context (None: the current one) with this in it and in its baggage: to be attached, or passed on."""
    if isinstance(served, Served):
        context = baggage.set_baggage(BAGGAGE_KEY, served.token, context)
    elif BAGGAGE_KEY in baggage.get_all(context):
        context = baggage.remove_baggage(BAGGAGE_KEY, context)
    return set_value(_KEY, served, context)


def _readable(carrier: Any) -> bool:
    return isinstance(carrier, list) or (hasattr(carrier, "items") and hasattr(carrier, "__setitem__"))


class _Reader:
    """Reads another carrier than the one it is asked for."""

    def __init__(self, written: dict[str, str]) -> None:
        self._written = written

    def get(self, _carrier: Any, key: str) -> str | None:
        return self._written.get(key)
