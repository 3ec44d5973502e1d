"""`reamp sidecar`: carry live traffic to an app, record it, and guard it from synthetic load."""

import asyncio
import logging
import os
from dataclasses import replace
from logging import StreamHandler
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import typer
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from captures.bodies import DEFAULT as DEFAULT_BODIES
from captures.bodies import BodyPolicy
from captures.errors import CaptureError
from captures.keyring import recipient_keys
from captures.redaction import load_rules
from captures.sampling import SessionBy
from reamp.commands.control import DEFAULT_SIDECAR
from reamp.commands.egress import PANEL as _CALLS
from reamp.commands.egress import EgressSettings
from reamp.settings import effective
from rules.exits import UserError
from rules.slo import Rule
from rules.units import MILLION, Duration, Rate, Share, Size, parse_address

if TYPE_CHECKING:
    from addons.controlport.access import Tokens
    from addons.dark.annex import DarkPlan
    from addons.processes.supervisor import Plan, Running

_USERS, _CONTROL, _EXTRA = "Users and app", "Control port and lever", "Synthetic traffic"
_DARK = "Dark copies"
_RECORDING, _KEEPING = "What is recorded", "How it is kept"


_NOWHERE = "http://tap.invalid"
"""In place of the app's URL: every request is answered before it could go there (RFC 6761, 6.4)."""

_NOT_AT_A_TAP = {
    "upstream": "what comes are copies, and the app must not get them a second time",
    "untrusted": "it gets copies, and can deny nothing to those who sent the requests",
    "forwarded": "there is no app behind it that could be told anything",
    "via": "there is no app behind it that could be told anything",
    "dark": "the proxy that sends copies to the tap can send them to the dark service, too",
    "egress": "it learns of a request when the app has it already, so that a call could go out before its trace is "
    "known, and be taken for a user's: give the egress to a sidecar in the way of the requests",
}


class SidecarSettings(EgressSettings):
    """Everything that a sidecar can be told (section ``sidecar`` of `reamp.yaml`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upstream: str = Field("", description="URL of the app")
    tap: bool = Field(False, description="get copies of requests from another proxy instead of carrying them")
    tap_share: Share | None = Field(
        None, gt=0, le=1_000_000, description="share of the real requests that is copied to the tap"
    )
    listen: str = Field("127.0.0.1:8080", description="HOST:PORT that users connect to")
    control: str = Field("127.0.0.1:8901", description="HOST:PORT of the control port")
    control_token: SecretStr = Field(
        SecretStr(""), description="token that looking and stopping from another machine need"
    )
    admin_token: SecretStr = Field(
        SecretStr(""), description="token that resetting the lever from another machine needs; allows the rest too"
    )
    control_cert: Path | None = Field(None, description="PEM file: the control port speaks TLS with this certificate")
    control_key: Path | None = Field(None, description="PEM file with its private key, if that is another one")
    control_insecure: bool = Field(False, description="open the control port to other machines without TLS")
    lever_file: Path | None = Field(
        None, description="file that pulls the lever while it is there; by default `stop` in the state folder"
    )
    captures: Path | None = Field(Path("recordings"), description="folder to record into; none: record nothing")
    state: Path = Field(Path(".reamp"), description="folder for the lever and the redaction key")
    redaction_rules: Path | None = Field(None, description="YAML file that says what is replaced in recordings")
    max_extra: Share = Field(Share.parse("25%"), description="most synthetic traffic, as a share of real traffic")
    public_key: list[Path] = Field([], description="PEM files whose load tags are valid")
    revoked: Path | None = Field(None, description="list of keys and runs whose load tags count no more")
    audience: str = Field(
        "production", pattern="^[A-Za-z0-9_-]{1,64}$", description="what load tags have to be addressed to"
    )
    untrusted: Literal["strip", "deny"] = Field("strip", description="what to do with tags that do not verify")
    dark: str | None = Field(None, description="URL of a service that users do not see, for copies of real requests")
    dark_share: Share = Field(
        Share.parse("10%"), gt=0, le=1_000_000, description="share of real requests that are copied"
    )
    dark_name: str = Field(
        "dark", pattern="^[A-Za-z0-9._-]{1,64}$", description="what the mark of the copies says, x-reamp-dark"
    )
    dark_allow: tuple[str, ...] = Field((), description="methods to copy beside GET, HEAD and OPTIONS")
    dark_host: Literal["keep", "target"] = Field("keep", description="whose Host copies bear: the users' or the URL's")
    dark_secrets: Literal["send", "drop"] = Field("send", description="whether copies bear cookies and authorizations")
    dark_compare: str = Field("", description="what of the answers is compared: status,size,body-hash")
    dark_timeout: Duration = Field(Duration.parse("5s"), gt=0, le=60, description="how long a copy may take")
    dark_at_once: int = Field(32, ge=1, le=1024, description="most copies under way at a time")
    dark_rate: Rate | None = Field(None, gt=0, description="most copies per second")
    dark_body_limit: Size = Field(
        Size.parse("64KiB"), le=128 << 10, description="requests with longer bodies are not copied"
    )
    trust_dark: bool = Field(False, description="believe the mark of dark copies, before a service that gets them")
    only: str = Field("", description="record only what this filter matches, in mitmproxy's filter language")
    except_: str = Field("", description="do not record what this filter matches")
    sample: Share = Field(
        Share.parse("100%"), gt=0, le=1_000_000, description="share of sessions to record, each whole or not at all"
    )
    session_by: str = Field("auto", description="what makes a session: auto, cookie:NAME, header:NAME or address")
    bodies: str = Field(DEFAULT_BODIES, description="what to keep of bodies, by content type")
    body_limit: Size = Field(Size.parse("64KiB"), description="bytes of each request body to keep")
    max_bytes: Size | None = Field(None, description="remove the oldest segments when there are more bytes than this")
    max_age: Duration | None = Field(None, gt=0, description="remove segments that were last written to this long ago")
    min_free_disk: Size | None = Field(
        None, description="remove the oldest segments, then pause, when less of the disk is free"
    )
    encrypt_to: list[str] = Field([], description="who can read what is recorded: public keys, or files of them")
    segment_size: Size = Field(Size.parse("64MiB"), description="start a new file at this size")
    segment_age: Duration = Field(Duration.parse("10m"), description="start a new file at this age")
    flush: Duration = Field(Duration.parse("1s"), description="at most this much is lost if the sidecar is killed")
    fsync: Literal["none", "interval", "block"] = Field(
        "none", description="when recordings have to be on the disk for certain"
    )
    queue_size: Size = Field(Size.parse("32MiB"), description="memory for records that wait for the disk")
    window: Duration = Field(Duration.parse("10s"), description="how far the signal of real users looks back")
    slo: tuple[Rule, ...] = Field((), description="what users must get while synthetic requests pass")
    workers: int = Field(1, ge=1, le=64, description="processes that carry the traffic")
    fast_lane: bool = Field(True, description="carry plain HTTP/1.1 past mitmproxy's own stack")
    forwarded: bool = Field(False, description="tell the app who asked, in X-Forwarded-*")
    via: str = Field("", description="name of this sidecar in the Via header; empty: no header")
    tls_certificate: Path | None = Field(None, description="PEM file: users are spoken to in TLS with it")
    tls_key: Path | None = Field(None, description="PEM file with its private key, if that is another one")
    client_timeout: Duration = Field(
        Duration.parse("10m"), gt=0, description="how long a client may be silent when it is its turn"
    )
    upstream_timeout: Duration = Field(
        Duration.parse("10m"), gt=0, description="how long the app may be silent when it is its turn"
    )

    @field_validator("upstream")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
        if parts.scheme not in ("http", "https") or not parts.hostname or rest:
            raise ValueError(f"{value!r} is not the URL of an app: write it like http://127.0.0.1:8000")
        return f"{parts.scheme}://{parts.netloc}"

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if not self.tap:
            if self.tap_share is not None:
                raise ValueError("--tap-share: it is for a tap only: say --tap as well")
            if not self.upstream:
                raise ValueError("--upstream: give it, the URL of the app; or --tap, to be sent copies of requests")
            return self
        defaults = type(self).model_fields
        for name, why in _NOT_AT_A_TAP.items():
            if getattr(self, name) != defaults[name].default:
                raise ValueError(f"--{name.replace('_', '-')}: not with --tap: {why}")
        for rule in self.slo:
            if rule.expression.statistic != "rate":
                raise ValueError(
                    f"--slo {rule.expression}: a tap gets copies of requests and sees no answers, so it has no data on "
                    "times and errors: give the rule to the run, with a source that has (reamp replay --slo ... "
                    "query=..., docs/safety.md)"
                )
        return self

    @field_validator("captures", mode="before")
    @classmethod
    def _may_be_none(cls, value: Any) -> Any:
        if value == "":
            raise ValueError("name a folder, or say none to record nothing")
        return None if value == "none" else value

    @field_validator("encrypt_to")
    @classmethod
    def _are_recipients(cls, value: list[str]) -> list[str]:
        try:
            return recipient_keys(value)
        except CaptureError as error:
            raise ValueError(str(error)) from None

    @field_validator("redaction_rules")
    @classmethod
    def _are_rules(cls, value: Path | None) -> Path | None:
        try:
            if value is not None:
                load_rules(value)
        except CaptureError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("listen", "control")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parse_address(value)
        return value

    @field_validator("window")
    @classmethod
    def _is_bounded(cls, value: Duration) -> Duration:
        if not 1 <= value <= 600:
            raise ValueError("it has to be between 1s and 10m")
        return value

    @field_validator("slo")
    @classmethod
    def _are_rules_of_a_sidecar(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        from addons.ruling import check

        return tuple(check(rule) for rule in value)

    @field_validator("session_by")
    @classmethod
    def _is_session(cls, value: str) -> str:
        return str(SessionBy.parse(value))

    def tokens(self) -> "Tokens":
        """Give what requests to the control port from other machines have to bear."""
        from addons.controlport.access import Tokens

        return Tokens(self.control_token.get_secret_value(), self.admin_token.get_secret_value())

    @model_validator(mode="after")
    def _is_safe_to_reach(self) -> Self:
        from addons.controlport.access import objection

        if self.control_key is not None and self.control_cert is None:
            raise ValueError("--control-key: name the certificate it belongs to as well, with --control-cert")
        host, _ = parse_address(self.control)
        tls = self.control_cert is not None
        if wrong := objection(host, self.tokens(), tls=tls, insecure=self.control_insecure):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _bodies_and_bytes(self) -> Self:
        BodyPolicy.parse(self.bodies, self.body_limit)
        open_ones = self.workers * self.segment_size
        if self.max_bytes is not None and self.max_bytes < 2 * open_ones:
            raise ValueError(
                f"--max-bytes {self.max_bytes}: what is being written is never removed, and --workers {self.workers} "
                f"with --segment-size {self.segment_size} write {Size(open_ones)} at a time. Allow at least "
                f"{Size(2 * open_ones)}, or take smaller segments"
            )
        return self

    @model_validator(mode="after")
    def _egress_has_a_port_of_its_own(self) -> Self:
        port = parse_address(self.egress)[1] if self.egress else 0
        for option, other in (("--listen", self.listen), ("--control", self.control)):
            if port and parse_address(other)[1] == port:
                raise ValueError(f"--egress {self.egress}: {option} has that port already: give it another one")
        return self

    @field_validator("dark_allow")
    @classmethod
    def _are_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from addons.dark.choosing import Chooser

        Chooser(Share(0), value)
        return value

    @field_validator("dark_compare")
    @classmethod
    def _are_aspects(cls, value: str) -> str:
        from addons.dark.comparison import Aspects

        return str(Aspects.parse(value))

    @model_validator(mode="after")
    def _dark_goes_together(self) -> Self:
        given = sorted(name for name in self.model_fields_set if name.startswith("dark_"))
        if given and self.dark is None:
            raise ValueError(f"--{given[0].replace('_', '-')}: it is about dark copies: say --dark URL as well")
        return self

    def dark_plan(self) -> "DarkPlan | None":
        """Give what the settings say of dark copies; None: none are made. Raises UserError if it can't be."""
        if self.dark is None:
            return None
        from addons.dark.annex import DarkPlan
        from addons.dark.comparison import Aspects

        plan = DarkPlan(
            url=self.dark,
            share=self.dark_share,
            state=self.state,
            workers=self.workers,
            mark=self.dark_name,
            allow=self.dark_allow,
            host=self.dark_host,
            secrets=self.dark_secrets,
            compare=Aspects.parse(self.dark_compare),
            timeout=self.dark_timeout,
            at_once=self.dark_at_once,
            per_second=self.dark_rate,
            body_limit=self.dark_body_limit,
            held_back=bool(self.egress),
        )
        plan.check_apart(self.upstream, self.listen)
        return plan

    def options(self) -> dict[str, Any]:
        """Give what a worker has to know as mitmproxy options, the way that `deploy/sidecar.py` takes them too."""
        return {
            "mode": [f"reverse:{self.upstream or _NOWHERE}"],
            "reamp_captures": str(self.captures or ""),
            "reamp_redaction_key": str(self.state / "redaction.key"),
            "reamp_redaction_rules": str(self.redaction_rules or ""),
            "reamp_max_extra": str(self.max_extra),
            "reamp_public_key": [str(path) for path in self.public_key],
            "reamp_revoked": str(self.revoked or ""),
            "reamp_audience": self.audience,
            "reamp_untrusted": self.untrusted,
            "reamp_trust_dark": self.trust_dark,
            "reamp_only": self.only,
            "reamp_except": self.except_,
            "reamp_sample": str(self.sample),
            "reamp_session_by": self.session_by,
            "reamp_bodies": self.bodies,
            "reamp_body_limit": str(self.body_limit),
            "reamp_max_bytes": str(self.max_bytes or ""),
            "reamp_max_age": str(self.max_age or ""),
            "reamp_min_free_disk": str(self.min_free_disk or ""),
            "reamp_segment_size": str(self.segment_size),
            "reamp_segment_age": str(self.segment_age),
            "reamp_flush": str(self.flush),
            "reamp_encrypt_to": self.encrypt_to,
            "reamp_fsync": self.fsync,
            "reamp_queue_size": str(self.queue_size),
            "reamp_fast_lane": self.fast_lane,
            "reamp_forwarded": self.forwarded,
            "reamp_via": self.via,
            "reamp_tls_certificate": str(self.tls_certificate or ""),
            "reamp_tls_key": str(self.tls_key or ""),
            "reamp_client_timeout": str(self.client_timeout),
            "reamp_upstream_timeout": str(self.upstream_timeout),
        }


def sidecar(
    upstream: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL of the app, e.g. http://127.0.0.1:8000.", rich_help_panel=_USERS),
    ] = None,
    tap: Annotated[
        bool | None,
        typer.Option(
            "--tap",
            help="Carry nothing: get copies of requests from the proxy that does (nginx, HAProxy, Envoy, Istio), "
            "record and count them, and answer 204. (docs/tap.md)",
            show_default=False,
            rich_help_panel=_USERS,
        ),
    ] = None,
    tap_share: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="With --tap: the share of real requests that the proxy copies, so that rates and the ceiling are "
            "right.",
            show_default="100%",
            rich_help_panel=_USERS,
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="HOST:PORT for users.", show_default="127.0.0.1:8080", rich_help_panel=_USERS
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="HOST:PORT of the control port.",
            show_default="127.0.0.1:8901",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    control_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="PEM file: speak TLS at the control port, with this certificate.",
            show_default="no TLS",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    control_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PEM file with its private key, if that is another one.", rich_help_panel=_CONTROL
        ),
    ] = None,
    control_insecure: Annotated[
        bool | None,
        typer.Option(
            "--control-insecure",
            help="Open the control port to other machines without TLS: only where nobody else can listen.",
            show_default=False,
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    lever_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File that pulls the lever while it is there (touch FILE).",
            show_default="STATE/stop",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    captures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder to record into.", show_default="recordings", rich_help_panel=_RECORDING
        ),
    ] = None,
    no_capture: Annotated[
        bool, typer.Option("--no-capture", help="Record nothing.", rich_help_panel=_RECORDING)
    ] = False,
    max_extra: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="The ceiling: most synthetic traffic, as a share of current real traffic.",
            show_default="25%",
            rich_help_panel=_EXTRA,
        ),
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Public key file whose load tags are valid; may be repeated. Without any, no tag is.",
            rich_help_panel=_EXTRA,
        ),
    ] = None,
    revoked: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="List of keys and runs whose load tags count no more (reamp keys revoke); read again when it changes.",
            show_default="none",
            rich_help_panel=_EXTRA,
        ),
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What load tags have to be addressed to.",
            show_default="production",
            rich_help_panel=_EXTRA,
        ),
    ] = None,
    untrusted: Annotated[
        str | None,
        typer.Option(
            metavar="strip|deny",
            help="Forged tags: strip them or deny with 403.",
            show_default="strip",
            rich_help_panel=_EXTRA,
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder that keeps the lever and the redaction key.",
            show_default=".reamp",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Record only what this filter matches, in mitmproxy's filter language: '~m POST & ~u /api'.",
            show_default="everything",
            rich_help_panel=_RECORDING,
        ),
    ] = None,
    except_: Annotated[
        str | None,
        typer.Option(
            "--except",
            metavar="FILTER",
            help="Do not record what this filter matches: '~u /health'.",
            show_default="nothing",
            rich_help_panel=_RECORDING,
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Record this share of sessions, each one whole or not at all.",
            show_default="100%",
            rich_help_panel=_RECORDING,
        ),
    ] = None,
    session_by: Annotated[
        str | None,
        typer.Option(
            metavar="BY",
            help="What makes a session: auto, cookie:NAME, header:NAME or address.",
            show_default="auto",
            rich_help_panel=_RECORDING,
        ),
    ] = None,
    bodies: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="What to keep of request bodies by content type, the first that fits: 'TYPE=keep|drop|SIZE, ...'.",
            show_default=DEFAULT_BODIES,
            rich_help_panel=_RECORDING,
        ),
    ] = None,
    body_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Keep this much of a request body.", show_default="64KiB", rich_help_panel=_RECORDING
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Remove the oldest segments when all are larger than this.",
            show_default="no limit",
            rich_help_panel=_KEEPING,
        ),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Remove segments that were last written to this long ago.",
            show_default="no limit",
            rich_help_panel=_KEEPING,
        ),
    ] = None,
    min_free_disk: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="When less of the disk is free, remove the oldest segments; without any left, stop recording.",
            show_default="no limit",
            rich_help_panel=_KEEPING,
        ),
    ] = None,
    encrypt_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Encrypt what is recorded, so that only this key's owner can read it: age1..., an SSH public key, or "
            "a file of them; may be given again. (reamp keygen --age)",
            rich_help_panel=_RECORDING,
        ),
    ] = None,
    segment_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="New file at this size.", show_default="64MiB", rich_help_panel=_KEEPING),
    ] = None,
    segment_age: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="New file at this age.", show_default="10m", rich_help_panel=_KEEPING),
    ] = None,
    redaction_rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML file that says which secrets are replaced.",
            show_default="rules built in",
            rich_help_panel=_RECORDING,
        ),
    ] = None,
    flush: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Most that a kill can lose.", show_default="1s", rich_help_panel=_KEEPING
        ),
    ] = None,
    fsync: Annotated[
        str | None,
        typer.Option(
            metavar="none|interval|block",
            help="What a crash of the machine can lose: none: what the kernel had not written; interval: what ended in "
            "the last two --flush; block: no more than a kill.",
            show_default="none",
            rich_help_panel=_KEEPING,
        ),
    ] = None,
    queue_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory for records that wait for the disk.",
            show_default="32MiB",
            rich_help_panel=_KEEPING,
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How far the signal of real users looks back.",
            show_default="10s",
            rich_help_panel=_EXTRA,
        ),
    ] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="What users must get while synthetic requests pass, or the lever is pulled: 'p(95)<500ms', "
            "'error_ratio<1% window=1m for=10s'; may be given again. (docs/sidecar.md)",
            show_default="no rule",
            rich_help_panel=_EXTRA,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Processes that carry the traffic, 1 to 64.", show_default="1", rich_help_panel=_USERS
        ),
    ] = None,
    fast_lane: Annotated[
        bool | None,
        typer.Option(
            "--fast-lane/--no-fast-lane",
            help="Carry plain HTTP/1.1 past mitmproxy's own stack.",
            show_default="--fast-lane",
            rich_help_panel=_USERS,
        ),
    ] = None,
    dark: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Service that users do not see: it gets copies of real requests, marked x-reamp-dark; its "
            "answers are measured and thrown away. (docs/dark.md)",
            show_default="no copies",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_share: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Share of real requests to copy.",
            show_default="10%",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the mark says.",
            show_default="dark",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="Copy this method, too; may be repeated. What it changes is changed twice.",
            show_default="GET, HEAD, OPTIONS",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_host: Annotated[
        str | None,
        typer.Option(
            metavar="keep|target",
            help="Host of copies: the one that users typed, or that of the URL.",
            show_default="keep",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_secrets: Annotated[
        str | None,
        typer.Option(
            metavar="send|drop",
            help="Cookies, authorizations and API keys of users: send them along or drop them.",
            show_default="send",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_compare: Annotated[
        str | None,
        typer.Option(
            metavar="ASPECTS",
            help="Compare dark answers with the real ones: any of status,size,body-hash.",
            show_default="nothing",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long a copy may take.",
            show_default="5s",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_at_once: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Most copies under way at a time.",
            show_default="32",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Most copies, e.g. 100/s.",
            show_default="no limit",
            rich_help_panel=_DARK,
        ),
    ] = None,
    dark_body_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Requests with longer bodies are not copied.",
            show_default="64KiB",
            rich_help_panel=_DARK,
        ),
    ] = None,
    trust_dark: Annotated[
        bool | None,
        typer.Option(
            "--trust-dark",
            help="Believe the mark of dark copies: this sidecar stands before a service that gets them. They count as "
            "untrusted: they earn nothing and are not recorded.",
            show_default=False,
            rich_help_panel=_DARK,
        ),
    ] = None,
    forwarded: Annotated[
        bool | None,
        typer.Option(
            "--forwarded/--no-forwarded",
            help="Tell the app who asked: X-Forwarded-For, -Proto and -Host.",
            show_default="--no-forwarded",
            rich_help_panel=_USERS,
        ),
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of this sidecar in the Via header.",
            show_default="no header",
            rich_help_panel=_USERS,
        ),
    ] = None,
    tls_certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="PEM file: speak TLS with users, with this certificate.",
            show_default="no TLS",
            rich_help_panel=_USERS,
        ),
    ] = None,
    tls_key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="PEM file with its private key, if that is another one.", rich_help_panel=_USERS
        ),
    ] = None,
    client_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long a client may be silent when it is its turn.",
            show_default="10m",
            rich_help_panel=_USERS,
        ),
    ] = None,
    upstream_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long the app may be silent when it is its turn.",
            show_default="10m",
            rich_help_panel=_USERS,
        ),
    ] = None,
    egress: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Be the app's outgoing proxy there as well (HTTP_PROXY), and tag the calls made for synthetic "
            "requests. (docs/egress.md)",
            show_default="no egress",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_open: Annotated[
        bool | None,
        typer.Option(
            "--egress-open",
            help="Let other machines use the egress: only where nobody but the app can reach it.",
            show_default=False,
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=URL",
            help="Where calls for a name go (payments=http://10.0.0.7:8080); may be given again.",
            show_default="where they say",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_intercept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Look into tunnels (CONNECT) to these hosts, TLS included: api.example.com, *.example.com:443 or *; "
            "may be given again. The app has to trust STATE/egress/mitmproxy-ca-cert.pem (docs/egress.md).",
            show_default="pass all through",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_tunnels: Annotated[
        str | None,
        typer.Option(
            metavar="pass|block",
            help="What becomes of tunnels to third parties that are not looked into. Nobody knows whose calls are in "
            "them: block refuses users' as well. (docs/egress.md)",
            show_default="pass",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="PEM file of authorities that are trusted beside the public ones, in tunnels that are looked into.",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    default_third_party: Annotated[
        str | None,
        typer.Option(
            metavar="pass|block",
            help="What becomes of synthetic calls to third parties for which there is no rule in reamp.yaml. "
            "(docs/egress.md)",
            show_default="block",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_trace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEADER",
            help="How a synthetic request without a trace begins one: traceparent, b3, b3multi or datadog; may be "
            "given again.",
            show_default="traceparent",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_trace_sampled: Annotated[
        bool | None,
        typer.Option(
            "--egress-trace-sampled",
            help="Have the app's tracing keep the traces that begin so.",
            show_default=False,
            rich_help_panel=_CALLS,
        ),
    ] = None,
    egress_trace_age: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long a trace is remembered after the last request that bore it.",
            show_default="10m",
            rich_help_panel=_CALLS,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Configuration file.", show_default="reamp.yaml, if there")
    ] = None,
) -> None:
    """Carry live traffic to an app, record it, and guard it from synthetic load.

    Put it where users connect and point it at the app. Real requests always pass; they are recorded into --captures
    with secrets replaced. Synthetic requests (those with a valid load tag) pass only while real traffic earns credit
    for them.

        reamp sidecar --upstream http://127.0.0.1:8000 --listen 0.0.0.0:8080 --public-key load.pub

    Record a tenth of all sessions without health checks, and keep a week of it:

        reamp sidecar --upstream http://127.0.0.1:8000 --sample 10% --except '~u /health' --max-age 7d

    Stop all synthetic traffic by itself when real users suffer from it:

        reamp sidecar --upstream http://127.0.0.1:8000 --slo 'p(95)<500ms' --slo 'error_ratio<1% window=1m for=10s'

    Where traffic is carried by a proxy that sends copies of it (docs/tap.md; such a sidecar can't refuse anything):

        reamp sidecar --tap --tap-share 10% --public-key load.pub

    Send copies of a tenth of the real requests to the next version of the app, which users do not see (docs/dark.md):

        reamp sidecar --upstream http://127.0.0.1:8000 --dark http://127.0.0.1:8001 --dark-share 10%

    Be the app's outgoing proxy, too, so that its calls for synthetic requests bear the load tag; the app needs no more
    than HTTP_PROXY=http://127.0.0.1:8902 and tracing:

        reamp sidecar --upstream http://127.0.0.1:8000 --public-key load.pub --egress 127.0.0.1:8902

    SIGTERM ends it when requests under way have been answered. SIGHUP has it read its settings again, without losing a
    request.

    The lever stops all synthetic requests at once, until it is reset. Any of these pulls it: `reamp stop`; the button
    of the page at the control port's address; SIGUSR1; the file --lever-file (touch .reamp/stop).

    The control port asks this machine's own for nothing. Others have to show REAMP_SIDECAR_CONTROL_TOKEN to look and to
    stop, and REAMP_SIDECAR_ADMIN_TOKEN to reset; it is opened to them with --control-cert only.
    """
    flags: dict[str, Any] = {
        "upstream": upstream,
        "tap": tap,
        "tap_share": tap_share,
        "listen": listen,
        "control": control,
        "control_cert": control_cert,
        "control_key": control_key,
        "control_insecure": control_insecure,
        "lever_file": lever_file,
        "captures": captures,
        "max_extra": max_extra,
        "public_key": public_key,
        "revoked": revoked,
        "audience": audience,
        "untrusted": untrusted,
        "default_third_party": default_third_party,
        "state": state,
        "only": only,
        "except_": except_,
        "sample": sample,
        "session_by": session_by,
        "bodies": bodies,
        "body_limit": body_limit,
        "max_bytes": max_bytes,
        "max_age": max_age,
        "min_free_disk": min_free_disk,
        "encrypt_to": encrypt_to,
        "segment_size": segment_size,
        "segment_age": segment_age,
        "redaction_rules": redaction_rules,
        "flush": flush,
        "fsync": fsync,
        "queue_size": queue_size,
        "window": window,
        "slo": slo,
        "workers": workers,
        "fast_lane": fast_lane,
        "dark": dark,
        "dark_share": dark_share,
        "dark_name": dark_name,
        "dark_allow": dark_allow,
        "dark_host": dark_host,
        "dark_secrets": dark_secrets,
        "dark_compare": dark_compare,
        "dark_timeout": dark_timeout,
        "dark_at_once": dark_at_once,
        "dark_rate": dark_rate,
        "dark_body_limit": dark_body_limit,
        "trust_dark": trust_dark,
        "forwarded": forwarded,
        "via": via,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "client_timeout": client_timeout,
        "upstream_timeout": upstream_timeout,
        "egress": egress,
        "egress_open": egress_open,
        "egress_map": egress_map,
        "egress_intercept": egress_intercept,
        "egress_tunnels": egress_tunnels,
        "egress_ca": egress_ca,
        "egress_trace": egress_trace,
        "egress_trace_sampled": egress_trace_sampled,
        "egress_trace_age": egress_trace_age,
    }

    plan = _plan(flags, config, no_capture=no_capture)

    def read_again() -> "Plan":
        again = _plan(flags, config, no_capture=no_capture)
        if bool(again.tap) != bool(plan.tap):
            raise UserError(
                "--tap: what carries traffic becomes no tap by a reload, and a tap nothing else: start anew"
            )
        return _keep_key(plan, again)

    console = Console(stderr=True, soft_wrap=True, emoji=False)
    handler: logging.Handler = RichHandler(console=console, show_path=False) if console.is_terminal else StreamHandler()
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s" if console.is_terminal else "%(asctime)s %(levelname)s %(message)s",
        handlers=[handler],
    )
    # One line for each connection is noise on a busy proxy; what is ours, and everybody's warnings, stay.
    for name in ("mitmproxy", "uvicorn", "httpx", "hpack", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from addons.processes.supervisor import supervise

    asyncio.run(supervise(plan, read_again, lambda running: _announce(console, plan, running)))


def _plan(flags: dict[str, Any], config: Path | None, *, no_capture: bool) -> "Plan":
    """Read the settings. Raises UserError."""
    from addons.processes.supervisor import Plan

    settings = effective(SidecarSettings, "sidecar", flags, config)
    if no_capture:
        settings = settings.model_copy(update={"captures": None})
    options = settings.options()
    believes = settings.trust_dark or settings.dark is not None
    egress = settings.egress_plan(settings.state, settings.control, options, believes=believes)
    annexes = (settings.dark_plan(), egress)
    return Plan(
        upstream=settings.upstream,
        listen=settings.listen,
        control=settings.control,
        tokens=settings.tokens(),
        state=settings.state,
        workers=settings.workers,
        max_extra=settings.max_extra,
        public_key=settings.public_key,
        revoked=settings.revoked,
        audience=settings.audience,
        window=float(settings.window),
        options=options,
        slo=settings.slo,
        control_cert=settings.control_cert,
        control_key=settings.control_key,
        lever_file=settings.lever_file or settings.state / "stop",
        tap=(settings.tap_share or Share(MILLION)) if settings.tap else None,
        annexes=tuple(annex for annex in annexes if annex is not None),
    )


def _keep_key(first: "Plan", again: "Plan") -> "Plan":
    """Keep the redaction key: `state` can't be changed by a reload, and pseudonyms must not in mid-recording."""
    name = "reamp_redaction_key"
    return replace(again, options={**again.options, name: first.options[name]})


def _announce(console: Console, plan: "Plan", running: "Running") -> None:
    keys = f"{len(plan.public_key)} public key file(s)" if plan.public_key else "no public key: no tag is valid"
    lane = "plain HTTP/1.1 in the fast lane" if plan.options["reamp_fast_lane"] else "the fast lane is off"
    lever, control = running.lever, f"{'https' if plan.control_cert else 'http'}://{running.control}"
    here = control.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    where = "" if here == DEFAULT_SIDECAR else f" --sidecar {here}"
    lines = [
        f"  workers   {plan.workers}; {lane}",
        f"  ceiling   {plan.max_extra} of current real traffic; {keys}; audience {plan.audience}",
        *(f"  rule      {rule}" for rule in plan.slo),
        *(f"  {annex.name:9} {annex}" for annex in plan.annexes),
        f"  records   {plan.options['reamp_captures'] or 'nothing'}",
        f"  state     {plan.state.absolute()} (lever and redaction key: keep them over restarts)",
        f"  control   {control} (a page; reamp status, stop, resume; /metrics)",
        f"  to stop   reamp stop{where}, kill -USR1 {os.getpid()}, or touch {plan.lever_file}",
    ]
    scheme = "https" if plan.options["reamp_tls_certificate"] else "http"
    if plan.tap:
        what = f"a tap: gets copies of {plan.tap} of the real requests (and of all that bear a load tag)"
        lines.insert(
            0, "  refuses   nothing, as it can't: grants hold the ceiling, and who sends without them is noticed"
        )
    else:
        what = f"-> {escape(plan.upstream)}"
    console.print(f"[bold]reamp sidecar[/bold]  {scheme}://{escape(running.listen)} {what}")
    console.print("\n".join(lines), markup=False)
    if running.doubt:
        console.print(f"  no load tag counts: {running.doubt}", style="red", markup=False)
    if lever.engaged:
        console.print(f"  the lever is pulled ({lever.reason}): `reamp resume` resets it", style="red", markup=False)
