"""`reamp sidecar`: carry live traffic to an app, record it, and guard it from synthetic load."""

import asyncio
import logging
from dataclasses import replace
from logging import StreamHandler
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import typer
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from captures.bodies import DEFAULT as DEFAULT_BODIES
from captures.bodies import BodyPolicy
from captures.errors import CaptureError
from captures.keyring import recipient_keys
from captures.redaction import load_rules
from captures.sampling import SessionBy
from reamp.settings import effective
from rules.exits import UserError
from rules.units import Duration, Share, Size, parse_address

if TYPE_CHECKING:
    from addons.supervisor import Plan, Running


class SidecarSettings(BaseModel):
    """Everything that a sidecar can be told (section ``sidecar`` of `reamp.yaml`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    upstream: str = Field(description="URL of the app")
    listen: str = Field("127.0.0.1:8080", description="HOST:PORT that users connect to")
    control: str = Field("127.0.0.1:8901", description="HOST:PORT of the control port")
    control_token: str = Field("", description="token that changes from another machine need")
    captures: Path | None = Field(Path("recordings"), description="folder to record into; none: record nothing")
    state: Path = Field(Path(".reamp"), description="folder for the lever and the redaction key")
    redaction_rules: Path | None = Field(None, description="YAML file that says what is replaced in recordings")
    max_extra: Share = Field(Share.parse("25%"), description="most synthetic traffic, as a share of real traffic")
    public_key: list[Path] = Field([], description="PEM files whose load tags are valid")
    audience: str = Field(
        "production", pattern="^[A-Za-z0-9_-]{1,64}$", description="what load tags have to be addressed to"
    )
    untrusted: Literal["strip", "deny"] = Field("strip", description="what to do with tags that do not verify")
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
        parts = urlsplit(value)
        rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
        if parts.scheme not in ("http", "https") or not parts.hostname or rest:
            raise ValueError(f"{value!r} is not the URL of an app: write it like http://127.0.0.1:8000")
        return f"{parts.scheme}://{parts.netloc}"

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

    @field_validator("session_by")
    @classmethod
    def _is_session(cls, value: str) -> str:
        return str(SessionBy.parse(value))

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

    def options(self) -> dict[str, Any]:
        """Give what a worker has to know as mitmproxy options, the way that `deploy/sidecar.py` takes them too."""
        return {
            "mode": [f"reverse:{self.upstream}"],
            "reamp_captures": str(self.captures or ""),
            "reamp_redaction_key": str(self.state / "redaction.key"),
            "reamp_redaction_rules": str(self.redaction_rules or ""),
            "reamp_max_extra": str(self.max_extra),
            "reamp_public_key": [str(path) for path in self.public_key],
            "reamp_audience": self.audience,
            "reamp_untrusted": self.untrusted,
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
        str | None, typer.Option(metavar="URL", help="URL of the app, e.g. http://127.0.0.1:8000.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="HOST:PORT for users.", show_default="127.0.0.1:8080")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="HOST:PORT of the control port.", show_default="127.0.0.1:8901"),
    ] = None,
    captures: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder to record into.", show_default="recordings")
    ] = None,
    no_capture: Annotated[bool, typer.Option("--no-capture", help="Record nothing.")] = False,
    max_extra: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="The ceiling: most synthetic traffic, as a share of current real traffic.",
            show_default="25%",
        ),
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Public key file whose load tags are valid; may be repeated. Without any, no tag is."
        ),
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What load tags have to be addressed to.", show_default="production"),
    ] = None,
    untrusted: Annotated[
        str | None,
        typer.Option(
            metavar="strip|deny", help="Tags that do not verify: strip them or deny with 403.", show_default="strip"
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder that keeps the lever and the redaction key.", show_default=".reamp"),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Record only what this filter matches, in mitmproxy's filter language: '~m POST & ~u /api'.",
            show_default="everything",
        ),
    ] = None,
    except_: Annotated[
        str | None,
        typer.Option(
            "--except",
            metavar="FILTER",
            help="Do not record what this filter matches: '~u /health'.",
            show_default="nothing",
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Record this share of sessions, each one whole or not at all.", show_default="100%"
        ),
    ] = None,
    session_by: Annotated[
        str | None,
        typer.Option(
            metavar="BY", help="What makes a session: auto, cookie:NAME, header:NAME or address.", show_default="auto"
        ),
    ] = None,
    bodies: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="What to keep of request bodies by content type, the first that fits: 'TYPE=keep|drop|SIZE, ...'.",
            show_default=DEFAULT_BODIES,
        ),
    ] = None,
    body_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Keep this much of a request body.", show_default="64KiB")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Remove the oldest segments when all are larger than this.", show_default="no limit"
        ),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Remove segments that were last written to this long ago.", show_default="no limit"
        ),
    ] = None,
    min_free_disk: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="When less of the disk is free, remove the oldest segments; without any left, stop recording.",
            show_default="no limit",
        ),
    ] = None,
    encrypt_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Encrypt what is recorded, so that only this key's owner can read it: age1..., an SSH public key, or "
            "a file of them; may be given again. (reamp keygen --age)",
        ),
    ] = None,
    segment_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="New file at this size.", show_default="64MiB")
    ] = None,
    segment_age: Annotated[
        str | None, typer.Option(metavar="DURATION", help="New file at this age.", show_default="10m")
    ] = None,
    redaction_rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML file that says which secrets are replaced.", show_default="rules built in"
        ),
    ] = None,
    flush: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Most that a kill can lose.", show_default="1s")
    ] = None,
    fsync: Annotated[
        str | None,
        typer.Option(
            metavar="none|interval|block",
            help="What a crash of the machine can lose: none: what the kernel had not written; interval: what ended in "
            "the last two --flush; block: no more than a kill.",
            show_default="none",
        ),
    ] = None,
    queue_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory for records that wait for the disk.", show_default="32MiB"),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How far the signal of real users looks back.", show_default="10s"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that carry the traffic, 1 to 64.", show_default="1")
    ] = None,
    fast_lane: Annotated[
        bool | None,
        typer.Option(
            "--fast-lane/--no-fast-lane",
            help="Carry plain HTTP/1.1 past mitmproxy's own stack.",
            show_default="--fast-lane",
        ),
    ] = None,
    forwarded: Annotated[
        bool | None,
        typer.Option(
            "--forwarded/--no-forwarded",
            help="Tell the app who asked: X-Forwarded-For, -Proto and -Host.",
            show_default="--no-forwarded",
        ),
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of this sidecar in the Via header.", show_default="no header"),
    ] = None,
    tls_certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="PEM file: speak TLS with users, with this certificate.", show_default="no TLS"
        ),
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM file with its private key, if that is another one.")
    ] = None,
    client_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="How long a client may be silent when it is its turn.", show_default="10m"
        ),
    ] = None,
    upstream_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="How long the app may be silent when it is its turn.", show_default="10m"
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

    SIGTERM ends it when requests under way have been answered. SIGHUP has it read its settings again, without losing a
    request.
    """
    flags: dict[str, Any] = {
        "upstream": upstream,
        "listen": listen,
        "control": control,
        "captures": captures,
        "max_extra": max_extra,
        "public_key": public_key,
        "audience": audience,
        "untrusted": untrusted,
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
        "workers": workers,
        "fast_lane": fast_lane,
        "forwarded": forwarded,
        "via": via,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "client_timeout": client_timeout,
        "upstream_timeout": upstream_timeout,
    }

    plan = _plan(flags, config, no_capture=no_capture)

    def read_again() -> "Plan":
        return _keep_key(plan, _plan(flags, config, no_capture=no_capture))

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
    from addons.supervisor import supervise

    asyncio.run(supervise(plan, read_again, lambda running: _announce(console, plan, running)))


def _plan(flags: dict[str, Any], config: Path | None, *, no_capture: bool) -> "Plan":
    """Read the settings. Raises UserError."""
    from addons.supervisor import Plan

    settings = effective(SidecarSettings, "sidecar", flags, config)
    if no_capture:
        settings = settings.model_copy(update={"captures": None})
    for file in settings.public_key:
        if not file.exists():
            raise UserError(f"public key: there is no {file}: make a pair of keys with `reamp keygen`")
    return Plan(
        upstream=settings.upstream,
        listen=settings.listen,
        control=settings.control,
        control_token=settings.control_token,
        state=settings.state,
        workers=settings.workers,
        max_extra=settings.max_extra,
        public_key=settings.public_key,
        audience=settings.audience,
        window=float(settings.window),
        options=settings.options(),
    )


def _keep_key(first: "Plan", again: "Plan") -> "Plan":
    """Keep the redaction key: `state` can't be changed by a reload, and pseudonyms must not in mid-recording."""
    name = "reamp_redaction_key"
    return replace(again, options={**again.options, name: first.options[name]})


def _announce(console: Console, plan: "Plan", running: "Running") -> None:
    keys = f"{len(plan.public_key)} public key file(s)" if plan.public_key else "no public key: no tag is valid"
    lane = "plain HTTP/1.1 in the fast lane" if plan.options["reamp_fast_lane"] else "the fast lane is off"
    lever = running.lever
    lines = [
        f"  workers   {plan.workers}; {lane}",
        f"  ceiling   {plan.max_extra} of current real traffic; {keys}; audience {plan.audience}",
        f"  records   {plan.options['reamp_captures'] or 'nothing'}",
        f"  state     {plan.state.absolute()} (lever and redaction key: keep them over restarts)",
        f"  control   http://{running.control} (reamp status, stop, resume; /metrics)",
    ]
    scheme = "https" if plan.options["reamp_tls_certificate"] else "http"
    console.print(f"[bold]reamp sidecar[/bold]  {scheme}://{escape(running.listen)} -> {escape(plan.upstream)}")
    console.print("\n".join(lines), markup=False)
    if lever.engaged:
        console.print(f"  the lever is pulled ({lever.reason}): `reamp resume` resets it", style="red", markup=False)
