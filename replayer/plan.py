"""What a replay was asked to do: one frozen model, checked before anything is sent. Pure."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from captures.sampling import SessionBy
from replayer import addresses
from replayer.comparing.differences import ASPECTS, RECORDED, Aspect
from replayer.plugins import plugin_name
from replayer.requests.fields import Names
from replayer.requests.rewriting import MOST_RULES, PathRule, Rewriting, header, name_pattern, once, token_source
from replayer.requests.writes import READING, SAFE_METHODS, RoutePattern, Writes
from replayer.schedule.calendar import Window, rejoined
from replayer.schedule.stages import Loudness, Stage
from rules.slo import Rule
from rules.units import MILLION, Duration, Factor, Rate, Share, parse_address

LEAST, MOST = Factor.parse("0.01x"), Factor.parse("1000x")
"""The factors that make sense of a recording: below, next to nothing of it is left; above, it is a benchmark."""

Of = Literal["live", "recording"]

MOST_SLO = 50
"""Rules: each is looked at once a second, and each has a line in every report."""

WARM_UPS = 1, 600
"""Seconds that a warm-up may last: what is heard is kept for ten minutes."""


def _of(given: dict[str, Any]) -> Of:
    return "live" if given.get("sidecars") and given.get("rate") is None else "recording"


def _factor(given: dict[str, Any]) -> Factor | None:
    plain = given.get("rate") is None and given.get("top_up") is None and not given.get("stage")
    return Factor(MILLION) if plain and given.get("of") == "recording" else None


def _duration(given: dict[str, Any]) -> Duration | None:
    stages = given.get("stage")
    return Duration(sum(Stage.parse(text).seconds for text in stages)) if stages else None


_WORDS = {"from": "from_", "except": "except_"}
"""Settings whose names are words of Python's own, and the fields that hold them."""

_RULES: dict[str, Callable[[str], object]] = {
    "allow": RoutePattern.parse,
    "set_header": header,
    "remove_header": name_pattern,
    "keep_header": name_pattern,
    "renew_header": name_pattern,
    "token_from": token_source,
    "rewrite": PathRule.parse,
}
"""Lists of texts, and what reads one of them. Raises ValueError."""


class Plan(BaseModel):
    """Everything that a replay can be told (section ``replay`` of `reamp.yaml`). Raises ValidationError."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    recording: Path = Field(description="folder or file to replay")
    identity: tuple[Path, ...] = Field((), description="files with the secret keys that open an encrypted recording")
    to: str = Field(description="URL of the target")
    sidecars: tuple[str, ...] = Field((), description="control ports of the sidecars before a live target")
    idle_target: bool = Field(False, description="the target carries no real traffic, so there is no ceiling")
    allowed_targets: Path | None = Field(None, description="list of the hosts that load may go to; None: any")
    rate: Rate | None = Field(None, description="send the recording's requests at this rate, not at their own times")
    top_up: Rate | None = Field(None, description="fill real traffic up to this rate")
    even: bool = Field(False, description="the rate's requests come evenly apart, not at random (Poisson)")
    stage: tuple[str, ...] = Field((), description="duration:factor, or duration:factor..factor for a ramp, in order")
    of: Of = Field(default_factory=_of, description="what is multiplied: live traffic or the recorded timeline")
    amplify: Factor | None = Field(default_factory=_factor, description="the factor; of live traffic, the total's")
    squeeze: bool = Field(False, description="amplify by dividing the recorded times instead of adding arrivals")
    seed: int = Field(1, ge=0, description="same seed, same replay")
    ceiling: Share | None = Field(None, description="most extra traffic, as a share of real traffic; None: the owner's")
    duration: Duration | None = Field(
        default_factory=_duration, description="how long; None: as long as the stages or the recording last"
    )
    max_requests: int | None = Field(None, ge=1, description="how many requests at most")
    from_: str | None = Field(
        None, serialization_alias="from", description="replay only what arrived from this time on"
    )
    until: str | None = Field(None, description="replay only what arrived before this time")
    only: str | None = Field(None, description="replay only what matches, in mitmproxy's filter language")
    except_: str | None = Field(None, serialization_alias="except", description="do not replay what matches")
    sessions: str | None = Field(
        None, description="multiply whole sessions; by what requests belong together: auto, address, cookie:NAME, ..."
    )
    loop: bool = Field(False, description="play the recorded timeline over and over")
    window: tuple[str, ...] = Field((), description="when it may run: days, times and whose: Sat 02:00-05:00 UTC")
    not_window: tuple[str, ...] = Field((), description="when it may not run, whatever `window` says")
    holidays: Path | None = Field(None, description="file of days on which it does not run: dates, or iCalendar")
    max_time: Duration | None = Field(None, description="longest time for it all, warm-up and waiting included")
    slo: tuple[Rule, ...] = Field((), description="rules about what requests get, and what a breach leads to")
    warm_up: Duration | None = Field(None, description="how long to learn, without load, what users get: the baseline")
    # Its URLs hold secrets, and a plan is written down and printed: they are left out there.
    announce: tuple[SecretStr, ...] = Field((), exclude=True, description="Apprise URLs of whom to tell of the run")
    announce_file: Path | None = Field(None, description="file with more of them, one a line")
    announce_before: Duration | None = Field(None, description="tell people this long before the start, and wait")
    announce_required: bool = Field(False, description="do not run if somebody can't be told")
    operator: str | None = Field(None, max_length=200, description="who runs it; None: the user of the system")
    dry_run: bool = Field(False, description="check everything, send nothing")

    methods: tuple[str, ...] = Field(SAFE_METHODS, description="methods that may be sent; those that only read")
    allow: tuple[str, ...] = Field((), description="routes of other methods that may be sent: POST /cart/{id}")
    host: str = Field("target", description="Host header: target, recorded, or a name")
    set_header: tuple[str, ...] = Field((), description="headers to send, like 'Accept-Language: de'")
    remove_header: tuple[str, ...] = Field((), description="names of headers to leave out, * allowed")
    keep_header: tuple[str, ...] = Field((), description="names of headers to send as recorded that would not be")
    renew_header: tuple[str, ...] = Field((), description="names of headers to give a new value in every request")
    token_from: tuple[str, ...] = Field((), description="environment variables with tokens: NAME, or 'Header: NAME'")
    rewrite: tuple[str, ...] = Field((), description="rules for paths, in order: regex => replacement")
    plugin: str | None = Field(None, description="MODULE:FUNCTION that changes requests or leaves them out")
    key: Path | None = Field(None, description="private key that signs the load tag")
    audience: str | None = Field(None, description="whom the tag is addressed to; None: what the sidecar says")
    tag_lifetime: Duration = Field(Duration(60), description="how long a tag is valid; renewed at half time")

    connect_timeout: Duration = Field(Duration(5), description="longest wait for a connection")
    first_byte_timeout: Duration | None = Field(
        None, description="longest wait for an answer to begin; None: `timeout`"
    )
    timeout: Duration = Field(Duration(30), description="longest wait for a whole answer")
    max_connections: int = Field(256, ge=1, le=60_000, description="most connections to the target")
    http2: Literal["never", "auto", "always"] = Field(
        "auto", description="HTTP/2: auto where TLS agrees to it (ALPN); always, without TLS by prior knowledge; never"
    )
    resolve: tuple[str, ...] = Field((), description="HOST:PORT:ADDRESS: connect there for that host, as with curl")
    cert: Path | None = Field(None, description="PEM file of the client certificate to show, with its chain")
    cert_key: Path | None = Field(None, description="PEM file of its key; None: it is in the same file")
    ca: Path | None = Field(None, description="PEM file of certificate authorities to trust; None: the system's")
    control_ca: Path | None = Field(
        None, description="PEM file of certificate authorities to trust at control ports; None: those of `ca`"
    )
    insecure: bool = Field(False, description="do not verify the target's certificate")

    max_lag: Duration = Field(Duration(0.1), description="a request later than this is shed, not sent")
    lag_bound: Duration = Field(Duration(0.05), description="a run whose p99 lag is above this is invalid")
    lag_for: Duration = Field(
        Duration(10), description="a run is invalid, too, whose lag was above its bound for longer than this in a row"
    )
    late_bound: Share = Field(Share(10_000), description="a run that sheds more than this share as late is invalid")
    signal_timeout: Duration = Field(Duration(10), description="how long to wait for a lost signal to come back")

    processes: int = Field(1, ge=1, le=64, description="processes that send; rates and the ceiling are those of all")
    lane: Literal["auto", "native", "python"] = Field(
        "auto", description="what sends: native C code, Python, or what fits"
    )

    diff: tuple[Aspect, ...] = Field((), description="compare answers: status, size; of two places body-hash and json")
    diff_against: str | None = Field(None, description="URL of an idle reference to compare answers with")
    diff_rate: Rate = Field(Rate(10), description="how many requests are compared")

    preflight: bool = Field(True, description="try on a live target that what keeps it safe works, before any load")
    skip_check: tuple[str, ...] = Field((), description="checks of it to leave out, by name, like lever")
    canary: str | None = Field(None, description="path that is asked for then; None: the recording's most frequent GET")
    echo: str | None = Field(None, description="path of the app that answers with the headers it got")
    app_header: str | None = Field(None, description="header that the app sets on answers to tagged requests")
    app_metric: str | None = Field(None, description="URL#metric of the app that grows with tagged requests")
    downstream_header: str | None = Field(
        None, description="header of answers that tells that a service behind the app saw the tag"
    )
    downstream_metric: str | None = Field(
        None, description="URL#metric of a service behind the app that grows with tagged requests"
    )

    metrics: str | None = Field(None, description="HOST:PORT to serve Prometheus metrics at")
    runs: Path = Field(Path("runs"), description="where run folders go")
    junit: Path | None = Field(None, description="where JUnit XML goes, beside the run's folder")

    @field_validator("to", "diff_against")
    @classmethod
    def _is_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is not the URL of a target: write it like http://127.0.0.1:8080")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"{value!r}: only scheme, host and port; the paths come from the recording")
        addresses.check_host(parts.hostname)
        if parts.port == 0:  # what is no port at all raises ValueError
            raise ValueError(f"{value!r}: nothing listens on port 0")
        return f"{parts.scheme}://{parts.netloc.removesuffix(':')}"

    @field_validator("amplify")
    @classmethod
    def _is_in_range(cls, value: Factor | None) -> Factor | None:
        if value is not None and not LEAST <= value <= MOST:
            raise ValueError(f"{value} is too {'small' if value < LEAST else 'large'}: from {LEAST} to {MOST} will do")
        return value

    @field_validator("sessions")
    @classmethod
    def _names_sessions(cls, value: str | None) -> str | None:
        return None if value is None else str(SessionBy.parse(value))

    @field_validator("stage", mode="before")
    @classmethod
    def _are_stages(cls, value: Any) -> Any:
        stages = [Stage.parse(str(text)) for text in (value.split(",") if isinstance(value, str) else value)]
        for stage in stages:
            cls._is_in_range(stage.begin)
            cls._is_in_range(stage.end)
        return tuple(map(str, stages))

    @field_validator("slo", mode="before")
    @classmethod
    def _are_slo(cls, value: Any) -> Any:
        rules = [value] if isinstance(value, str | dict) else list(value)
        if len(rules) > MOST_SLO:
            raise ValueError(f"{len(rules)} are too many: at most {MOST_SLO}")
        return rules

    @field_validator("window", "not_window", mode="before")
    @classmethod
    def _are_windows(cls, value: Any) -> Any:
        texts = rejoined([value] if isinstance(value, str) else map(str, value))
        return tuple(str(Window.parse(text)) for text in texts)

    @field_validator("announce", mode="before")
    @classmethod
    def _are_urls(cls, value: Any) -> Any:
        # The environment's lists are split at commas, and some URLs have commas within.
        whole: list[str] = []
        for given in [value] if isinstance(value, str | SecretStr) else value:
            text = given.get_secret_value() if isinstance(given, SecretStr) else str(given)
            if "://" in text or not whole:
                whole.append(text.strip())
            else:
                whole[-1] += f",{text}"
        return tuple(map(SecretStr, whole))

    @field_validator("sidecars", mode="before")
    @classmethod
    def _are_control_ports(cls, value: Any) -> Any:
        urls = tuple(str(url).rstrip("/") for url in ([value] if isinstance(value, str) else value))
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is not a sidecar's control port: write it like http://127.0.0.1:8901")
            addresses.check_host(parts.hostname)
            _ = parts.port  # raises ValueError for what is no port
        return tuple(dict.fromkeys(urls))  # one sidecar named twice would grant twice

    @field_validator("methods", mode="before")
    @classmethod
    def _are_methods(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else [name for item in value for name in item.split(",")]
        methods = tuple(dict.fromkeys(name.strip().upper() for name in names if name.strip()))
        if not methods or not all(name.isascii() and name.replace("-", "").isalpha() for name in methods):
            raise ValueError("write methods like GET,HEAD,OPTIONS")
        if "CONNECT" in methods:
            raise ValueError("CONNECT opens a tunnel, and is never replayed")
        if write := next((name for name in methods if name not in READING), None):
            raise ValueError(
                f"{write} may change things, so it is allowed route by route: --allow '{write} /cart/{{id}}' "
                f"(--dry-run lists the routes there are), or for all of them --allow '{write} *'"
            )
        return methods

    @field_validator(*_RULES, mode="before")
    @classmethod
    def _is_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("plugin")
    @classmethod
    def _is_plugin(cls, value: str | None) -> str | None:
        return None if value is None else plugin_name(value)

    @field_validator(*_RULES)
    @classmethod
    def _are_rules(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(value) > MOST_RULES:
            raise ValueError(f"{len(value)} are too many: at most {MOST_RULES}")
        for text in value:
            _RULES[info.field_name or ""](text)
        return value

    @field_validator("http2", mode="before")
    @classmethod
    def _is_yes_or_no(cls, value: Any) -> Any:
        return ("always" if value else "never") if isinstance(value, bool) else value

    @field_validator("diff", mode="before")
    @classmethod
    def _are_aspects(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else [name for item in value for name in item.split(",")]
        found = tuple(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
        unknown = [name for name in found if name not in ASPECTS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} can't be compared: write some of {','.join(ASPECTS)}")
        return found

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if not self.diff:
            if self.diff_against is not None:
                raise ValueError(f"--diff-against: say what to compare there, --diff {','.join(ASPECTS)}")
            return self
        bodies = [aspect for aspect in self.diff if aspect not in RECORDED]
        if bodies and self.diff_against is None:
            raise ValueError(
                f"--diff {bodies[0]}: a recording holds no bodies of answers. Name a second target that answers as it "
                "should, say the old version: --diff-against http://HOST:PORT; or compare status,size only"
            )
        if self.diff_against == self.to:
            raise ValueError(f"--diff-against {self.to} is the target itself: leave it out, and that is compared with")
        return self

    @field_validator("skip_check", mode="before")
    @classmethod
    def _are_names(cls, value: Any) -> Any:
        return tuple(dict.fromkeys(name.strip().lower() for name in ([value] if isinstance(value, str) else value)))

    @field_validator("canary", "echo")
    @classmethod
    def _is_path(cls, value: str | None) -> str | None:
        if value is not None and not (
            value[:1] == "/" and value.isascii() and value.isprintable() and " " not in value
        ):
            raise ValueError(f"{value!r} is no path: write it like /health?full=1, percent-encoded")
        return value

    @field_validator("app_header", "downstream_header")
    @classmethod
    def _is_header(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", value):
            raise ValueError(f"{value!r} is not the name of a header: write it like X-Load-Test-Seen")
        return value

    @field_validator("app_metric", "downstream_metric")
    @classmethod
    def _is_metric(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname or not parts.fragment:
                raise ValueError(
                    f"{value!r} names no metric: write it like http://app:9000/metrics#load_requests_total"
                )
            addresses.check_host(parts.hostname)
            _ = parts.port  # raises ValueError for what is no port
        return value

    @field_validator("resolve", mode="before")
    @classmethod
    def _are_addresses(cls, value: Any) -> Any:
        rules = (value,) if isinstance(value, str) else tuple(value)
        addresses.parse(map(str, rules))
        return rules

    @field_validator("host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if value.lower() in ("target", "recorded"):
            return value.lower()
        try:
            parts = urlsplit(f"//{value}")
            fine = parts.netloc == value and parts.username is None and parts.port != 0
            addresses.check_host((parts.hostname if fine else None) or "")
        except ValueError:
            told = "write target, recorded, or a name like shop.example, with a port or without"
            raise ValueError(f"{value!r} is not a host: {told}") from None
        return value

    @field_validator("audience")
    @classmethod
    def _fits_into_a_tag(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[A-Za-z0-9_-]{1,64}", value):
            raise ValueError(f"{value!r}: an audience has 1 to 64 of the characters A-Z a-z 0-9 _ -")
        return value

    @field_validator("metrics")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            parse_address(value)
        return value

    @field_validator("junit")
    @classmethod
    def _is_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.name:
            raise ValueError(f"'{value}' names no file: write it like junit.xml")
        return value

    @field_validator(
        "rate",
        "top_up",
        "duration",
        "max_time",
        "announce_before",
        "connect_timeout",
        "first_byte_timeout",
        "timeout",
        "max_lag",
        "lag_bound",
        "lag_for",
        "signal_timeout",
        "diff_rate",
    )
    @classmethod
    def _is_positive(cls, value: Any) -> Any:
        if value is not None and value <= 0:
            raise ValueError("has to be more than zero")
        return value

    @field_validator("warm_up")
    @classmethod
    def _is_warm_up(cls, value: Duration | None) -> Duration | None:
        if value is not None and not WARM_UPS[0] <= value <= WARM_UPS[1]:
            raise ValueError(f"from {Duration(WARM_UPS[0])} to {Duration(WARM_UPS[1])} will do")
        return value

    @field_validator("tag_lifetime")
    @classmethod
    def _outlives_a_request(cls, value: Duration) -> Duration:
        if not 2 <= value <= 3600:
            raise ValueError("has to be between 2s and 1h: short enough to end with the run, long enough to arrive")
        return value

    @model_validator(mode="before")
    @classmethod
    def _reads_what_it_wrote(cls, given: Any) -> Any:
        return {_WORDS.get(name, name): value for name, value in given.items()} if isinstance(given, dict) else given

    @model_validator(mode="before")
    @classmethod
    def _names_both_ends(cls, given: Any) -> Any:
        if isinstance(given, dict) and not (given.get("recording") and given.get("to")):
            raise ValueError("name the recording to play and the target to play it to: reamp replay DIR --to URL")
        return given

    @model_validator(mode="after")
    def _sets_each_header_once(self) -> Self:
        once([*map(header, self.set_header), *((token_source(text)[0].encode(), b"") for text in self.token_from)])
        return self

    @model_validator(mode="after")
    def _connects(self) -> Self:
        if self.first_byte_timeout is not None and self.first_byte_timeout > self.timeout:
            raise ValueError(
                f"--first-byte-timeout {self.first_byte_timeout} is never reached: --timeout ends the wait for the "
                f"whole answer after {self.timeout}"
            )
        if self.cert_key is not None and self.cert is None:
            raise ValueError("--cert-key is the key of a client certificate: name that too, --cert")
        if self.cert is not None and not self.tls:
            raise ValueError(
                "--cert shows a client certificate, which only a target with TLS asks for: --to https://..."
            )
        host, port = self.address
        others = [f"{name}:{number}" for name, number in self.addresses if (name, number) != (host, port)]
        if others and self.host != "recorded":
            raise ValueError(
                f"--resolve {others[0]}: nothing is sent there. All goes to {host}:{port}, unless --host recorded has "
                "each request go to the host that it was recorded for"
            )
        if others and self.sidecars:
            raise ValueError(
                f"--resolve {others[0]}: with a --sidecar all goes to {host}:{port}, where that sidecar sees it; "
                "another host's real traffic is not known here"
            )
        return self

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self._check_target()
        self._check_demand()
        if self.of == "live":
            self._check_live()
        else:
            self._check_recording()
        if self.ceiling is not None and not self.sidecars:
            raise ValueError("--ceiling is a share of real traffic, which only a --sidecar sees")
        return self

    @model_validator(mode="after")
    def _has_time_to_announce(self) -> Self:
        if self.announce_before is not None and self.max_time is not None and self.max_time <= self.announce_before:
            raise ValueError(
                f"--max-time {self.max_time} would be over before the start: the time of --announce-before "
                f"{self.announce_before} is part of it"
            )
        return self

    @model_validator(mode="after")
    def _holidays_are_somewhere(self) -> Self:
        if self.holidays is not None and not self.window:
            raise ValueError(
                "--holidays are days somewhere, from midnight to midnight: say where by a --window, like "
                "'daily 00:00-24:00 Europe/London'"
            )
        return self

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        named = [rule.expression for rule in self.slo if not rule.external]
        relative = next((expression for expression in named if expression.relative), None)
        real = next((expression for expression in named if expression.text.startswith("real")), None)
        if self.idle_target and real is not None:
            raise ValueError(
                f"--slo {real}: an --idle-target has no real users; synthetic.p(95)<500ms is about the run's"
            )
        if self.idle_target and self.warm_up is not None:
            raise ValueError("--warm-up learns what real users get without load, and an --idle-target has none")
        if relative is None:
            return self
        if self.idle_target or relative.subject == "synthetic":
            raise ValueError(
                f"--slo {relative}: a baseline is what real users get without load; of synthetic requests there is "
                "none: give a figure instead"
            )
        if self.warm_up is None:
            raise ValueError(f"--slo {relative}: say how long to learn the baseline without load: --warm-up 1m")
        return self

    def _check_target(self) -> None:
        if self.sidecars and self.idle_target:
            raise ValueError("an --idle-target has no real traffic and so no --sidecar to follow: give one of the two")
        if self.of == "live" and not self.sidecars:
            raise ValueError("--of live follows the real traffic that a sidecar sees: name its control port, --sidecar")
        if self.sidecars or self.idle_target:
            return
        raise ValueError(
            f"{self.to} may carry real users, and nothing here tells how many. Name the control port of the sidecar "
            "before it (--sidecar http://HOST:8901), which ties the load to their traffic; or, if it carries none "
            "(a staging clone), say so: --idle-target"
        )

    def _check_demand(self) -> None:
        """Refuse two answers to the same question: how much, how long."""
        if self.top_up is not None and self.idle_target:
            raise ValueError("--top-up fills up real traffic, and an --idle-target has none: --rate sends at a rate")
        given = {
            "--amplify": self.amplify is not None,
            "--stage": bool(self.stage),
            "--top-up": self.top_up is not None,
            "--rate": self.rate is not None,
        }
        named = [name for name, is_given in given.items() if is_given]
        if len(named) > 1:
            all_ = "both" if len(named) == 2 else "all"
            raise ValueError(f"{' and '.join(named)} {all_} say how much to send: give one of them")
        if self.stage and self.duration != _duration({"stage": self.stage}):
            lasts = _duration({"stage": self.stage})
            raise ValueError(f"the stages last {lasts} in all, and then the run is over: leave --duration out")
        if self.even and self.rate is None:
            raise ValueError("--even is how the requests of a --rate come: give --rate too")

    def _check_recording(self) -> None:
        if self.top_up is not None:
            raise ValueError("--top-up fills up live traffic; it does not go with --of recording")
        if self.amplify is None and self.rate is None and not self.stage:
            raise ValueError("--of recording needs a factor: --amplify 1x sends what was recorded")
        if self.squeeze and self.rate is not None:
            raise ValueError("--squeeze divides recorded times, and --rate does not use them: give one of the two")
        if self.squeeze and self.stage:
            raise ValueError("--squeeze divides all recorded times by one factor: give --amplify instead of --stage")
        if self.sessions is not None and (self.squeeze or self.rate is not None):
            other = "--squeeze sends every request once" if self.squeeze else "--rate sends requests one by one"
            raise ValueError(f"--sessions multiplies whole sessions at their own times; {other}: give one of the two")
        if self.loop and self.duration is None and self.max_requests is None:
            raise ValueError("--loop has no end: say --duration 10m, --max-requests 10000, or give --stage")

    def _check_no_timeline(self) -> None:
        """Refuse for live traffic what is about recorded times."""
        if self.squeeze:
            raise ValueError("--squeeze is about recorded times; live traffic has its own")
        if self.rate is not None:
            raise ValueError("--rate has its own times and does not follow live traffic: leave --of live out")
        if self.sessions is not None:
            raise ValueError(
                "--sessions multiplies the sessions of a recording; for live traffic requests are taken in recorded "
                "order, one for each that is wanted: leave it out, or say --of recording"
            )
        if self.loop:
            raise ValueError(
                "--loop is about a recorded timeline; for live traffic the recording's requests are taken over and "
                "over anyway: leave it out, and say how long with --duration"
            )

    def _check_live(self) -> None:
        self._check_no_timeline()
        if self.amplify is None and self.top_up is None and not self.stage:
            raise ValueError(
                "say how much to send: --amplify 1.05x adds 5% of live traffic, --top-up 500/s fills it up"
            )
        if self.amplify is not None and self.amplify <= MILLION:
            raise ValueError(
                f"{self.amplify} of live traffic adds nothing to it: real users send 1x already; say --amplify 1.05x"
            )
        for stage in map(Stage.parse, self.stage):
            if min(stage.begin, stage.end) < MILLION:
                raise ValueError(f"--stage {stage}: live traffic is 1x already, and can't be made less")
        if self.stage and self.loudness.most == MILLION:
            raise ValueError("the stages add nothing to live traffic: real users send 1x already; say 5m:1.05x")
        if self.ceiling is not None:
            self.fits_under(self.ceiling)

    def fits_under(self, ceiling: Share) -> None:
        """Raise ValueError, with the arithmetic, if a ceiling can't carry the greatest factor of live traffic."""
        check_factor(self.loudest, ceiling, "--stage" if self.stage else "--amplify")

    @property
    def writes(self) -> Writes:
        """Which requests may be sent beside those of `methods`."""
        return Writes(self.allow)

    @property
    def rewriting(self) -> Rewriting:
        """What is changed of every request, but for the tokens that the environment holds."""
        removed, kept, renewed = (
            Names(map(name_pattern, names)) for names in (self.remove_header, self.keep_header, self.renew_header)
        )
        return Rewriting(
            once(map(header, self.set_header)), removed, kept, renewed, tuple(map(PathRule.parse, self.rewrite))
        )

    @property
    def loudness(self) -> Loudness:
        """The factor over time."""
        if self.stage:
            return Loudness(list(map(Stage.parse, self.stage)))
        return Loudness.steady(Factor(MILLION) if self.amplify is None else self.amplify)

    @property
    def loudest(self) -> Factor | None:
        """The greatest factor there will be; None if no factor was asked for."""
        return self.loudness.most if self.stage else self.amplify

    @property
    def loops(self) -> bool:
        """Whether the recording's requests are taken over and over."""
        return self.loop or self.of == "live"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the target."""
        parts = urlsplit(self.to)
        return parts.hostname or "", parts.port or (443 if self.tls else 80)

    @property
    def addresses(self) -> addresses.Addresses:
        """What `resolve` says, by host and port."""
        return addresses.parse(self.resolve)

    @property
    def server_name(self) -> str | None:
        """Whose certificate the target has to show; None: that of its address."""
        return None if self.host in ("target", "recorded") else urlsplit(f"//{self.host}").hostname

    @property
    def may_multiplex(self) -> bool:
        """Whether a connection may carry several requests at a time (HTTP/2)."""
        return self.http2 == "always" or (self.http2 == "auto" and self.tls)

    @property
    def tls(self) -> bool:
        """Whether the target speaks TLS."""
        return self.to.startswith("https:")


def check_factor(amplify: Factor | None, ceiling: Share, option: str = "--amplify") -> None:
    """Raise ValueError, with the arithmetic, if `ceiling` can't carry a factor of live traffic. Exact.

    `option` is the one that gave the factor.
    """
    if amplify is None or amplify - MILLION <= ceiling:
        return
    extra = Share(amplify - MILLION)
    lower = f"lower {option} to {Factor(MILLION + ceiling)}, or " if ceiling else ""
    raise ValueError(
        f"{amplify} of live traffic sends {extra} of real traffic as extra; the ceiling is {ceiling}: "
        f"{lower}have the ceiling raised to {extra} (--ceiling, and --max-extra of the sidecar)"
    )
