"""What of the real traffic is recorded, and for how long: the options, and what they mean."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mitmproxy import exceptions, flowfilter, http
from mitmproxy.addonmanager import Loader
from pydantic import ValidationError

from captures.bodies import DEFAULT, BodyPolicy
from captures.codec import MAX_BODY
from captures.retention import Limits
from captures.sampling import Sampler, SessionBy
from rules.exits import UserError
from rules.units import MILLION, Duration, Share, Size

Wanted = Callable[[http.HTTPFlow], bool]

_MAX_EXPRESSION = 4096
"""Characters of a filter: it stands in the header of each segment."""


class Selection(NamedTuple):
    """What the options say."""

    wanted: Wanted | None
    """Asked of a flow when it has ended; None: all are."""
    sample: Share
    session_by: SessionBy
    bodies: BodyPolicy
    limits: Limits
    only: str = ""
    exclude: str = ""

    def sampler(self, key: bytes) -> Sampler | None:
        """Make the one who decides about sessions; None if all are recorded."""
        return Sampler(key, self.sample, self.session_by) if self.sample < MILLION else None

    def describe(self, tap: int = 0) -> dict[str, Any]:
        """Say it for the header of a segment, so that readers know what they do not see. `tap`: see `Capture`."""
        said: dict[str, Any] = {"bodies": str(self.bodies), "body_limit": self.bodies.limit}
        if self.only:
            said["only"] = self.only
        if self.exclude:
            said["except"] = self.exclude
        if self.sample < MILLION:
            said |= {"sample": str(self.sample), "session_by": str(self.session_by)}
        if tap:
            said["tap"] = str(Share(tap))
        return {"recorded": said}


def declare(loader: Loader) -> None:
    """Declare the options."""
    loader.add_option("reamp_only", str, "", "Record only what this filter matches, in mitmproxy's filter language.")
    loader.add_option("reamp_except", str, "", "Do not record what this filter matches.")
    loader.add_option("reamp_sample", str, "100%", "Share of sessions to record, each one whole or not at all.")
    loader.add_option(
        "reamp_session_by", str, "auto", "What makes a session: auto, cookie:NAME, header:NAME or address."
    )
    loader.add_option("reamp_body_limit", str, "64KiB", "Bytes of each request body to keep.")
    loader.add_option(
        "reamp_bodies", str, DEFAULT, "What to keep of bodies by content type: TYPE=keep, TYPE=drop or TYPE=SIZE, ..."
    )
    loader.add_option("reamp_max_bytes", str, "", "Remove the oldest segments when there are more bytes than this.")
    loader.add_option("reamp_max_age", str, "", "Remove segments that were last written to this long ago.")
    loader.add_option(
        "reamp_min_free_disk", str, "", "Remove the oldest segments, then pause, when less of the disk is free."
    )


def read(options: Any) -> Selection:
    """Read the options. Raises OptionsError."""
    limit = _parsed("reamp_body_limit", Size.parse, options.reamp_body_limit)
    bodies = _parsed("reamp_bodies", lambda text: BodyPolicy.parse(text, limit), options.reamp_bodies)
    if max([limit, *(rule.limit or 0 for rule in bodies.rules)]) > MAX_BODY:
        raise exceptions.OptionsError(f"reamp_body_limit, reamp_bodies: at most {Size(MAX_BODY)} fit into a record")
    sample = _parsed("reamp_sample", Share.parse, options.reamp_sample)
    if not 0 < sample <= MILLION:
        raise exceptions.OptionsError("reamp_sample: it has to be above 0% and at most 100%")
    only, exclude = options.reamp_only.strip(), options.reamp_except.strip()
    return Selection(
        wanted=_wanted(_parsed("reamp_only", _filter, only), _parsed("reamp_except", _filter, exclude)),
        sample=sample,
        session_by=_parsed("reamp_session_by", SessionBy.parse, options.reamp_session_by),
        bodies=bodies,
        limits=_limits(options),
        only=only,
        exclude=exclude,
    )


def _parsed[T](name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        text.encode()  # all of it is told in the header of each segment
    except UnicodeEncodeError:
        raise exceptions.OptionsError(f"{name}: it holds bytes that are no UTF-8 text") from None
    try:
        return parse(text)
    except (ValueError, UserError) as error:
        raise exceptions.OptionsError(f"{name}: {error}") from error


def _limits(options: Any) -> Limits:
    def given[T](name: str, parse: Callable[[str], T]) -> T | None:
        text = getattr(options, name)
        return _parsed(name, parse, text) if text else None

    try:
        return Limits(
            max_bytes=given("reamp_max_bytes", Size.parse),
            max_age=given("reamp_max_age", Duration.parse),
            min_free=given("reamp_min_free_disk", Size.parse),
        )
    except ValidationError as error:
        reasons = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise exceptions.OptionsError(f"reamp capture options: {reasons}") from error


def _filter(expression: str) -> flowfilter.TFilter | None:
    """Have mitmproxy read a filter. Raises ValueError or UserError."""
    if not expression:
        return None
    if len(expression) > _MAX_EXPRESSION:
        raise ValueError(f"a filter of {len(expression)} characters is too long: at most {_MAX_EXPRESSION}")
    try:
        return flowfilter.parse(expression)
    except (ValueError, RecursionError):
        from addons.filtering import matcher  # noqa: PLC0415 - it knows better what is wrong

        matcher(expression)  # says it
        raise


def _wanted(only: flowfilter.TFilter | None, exclude: flowfilter.TFilter | None) -> Wanted | None:
    if only is None and exclude is None:
        return None
    if exclude is None:
        return only
    if only is None:
        return lambda flow: not exclude(flow)
    return lambda flow: bool(only(flow)) and not exclude(flow)
