"""The egress's part of a sidecar's settings: the app's outgoing proxy."""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from addons.parties.places import DEFAULT, inside_patterns
from addons.parties.policy import Policy
from addons.parties.rule import PartyRule, check
from rules.units import Duration, parse_address

if TYPE_CHECKING:
    from addons.egress.annex import EgressPlan

PANEL = "The app's own calls"

_ONLY_IN_FILE = ("inside", "third_parties")
"""Settings that no option stands for."""


class EgressSettings(BaseModel):
    """What there is to say of an egress."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    control: str = Field("127.0.0.1:8901", description="HOST:PORT of the control port")
    egress: str = Field("", description="HOST:PORT that the app uses as its outgoing proxy; empty: no egress")
    egress_open: bool = Field(False, description="let other machines use the egress")
    egress_map: tuple[str, ...] = Field((), description="NAME=URL: where calls for a name go")
    egress_intercept: tuple[str, ...] = Field((), description="hosts whose tunnels are looked into")
    egress_tunnels: Literal["pass", "block"] = Field(
        "pass", description="what becomes of tunnels to third parties that are not looked into, users' included"
    )
    egress_ca: Path | None = Field(
        None, description="PEM file of authorities to trust beside the public ones, in tunnels that are looked into"
    )
    egress_trace: tuple[str, ...] = Field(
        ("traceparent",), min_length=1, description="headers in which a synthetic request without a trace begins one"
    )
    egress_trace_sampled: bool = Field(False, description="have the app's tracing keep the traces begun by the sidecar")
    egress_trace_age: Duration = Field(
        Duration.parse("10m"), description="how long a trace is remembered after the last request that bore it"
    )

    inside: tuple[str, ...] = Field(
        (DEFAULT,), description="hosts that the load tag may go to: names, networks; default: what only we can reach"
    )
    third_parties: tuple[PartyRule, ...] = Field((), description="what synthetic calls to third parties get")
    default_third_party: Literal["pass", "block"] = Field(
        "block", description="what is done with synthetic calls to third parties without a rule"
    )

    @field_validator("egress")
    @classmethod
    def _is_egress_address(cls, value: str) -> str:
        if value:
            parse_address(value)
        return value

    @field_validator("egress_map", "egress_intercept")
    @classmethod
    def _are_destinations(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        from addons.egress.destinations import Destinations

        if info.field_name == "egress_map":
            Destinations(value)
        else:
            Destinations(intercepted=value)
        return value

    @field_validator("egress_trace")
    @classmethod
    def _are_styles(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from addons.traceheaders import STYLES

        if unknown := set(value) - set(STYLES):
            raise ValueError(f"{min(unknown)!r} is none of {', '.join(STYLES)}")
        return value

    @field_validator("egress_trace_age")
    @classmethod
    def _is_an_age(cls, value: Duration) -> Duration:
        if not 1 <= value <= 86_400:
            raise ValueError("it has to be between 1s and 24h")
        return value

    @field_validator("egress_ca")
    @classmethod
    def _is_certificates(cls, value: Path | None) -> Path | None:
        if value is not None and "-----BEGIN CERTIFICATE-----" not in _text(value):
            raise ValueError(f"there is no certificate in {value}: it has to be a PEM file")
        return value

    @field_validator("inside")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        inside_patterns(value)
        return value

    @field_validator("third_parties")
    @classmethod
    def _are_rules_for_third_parties(cls, value: tuple[PartyRule, ...]) -> tuple[PartyRule, ...]:
        return check(value)

    def policy(self) -> Policy:
        """Give what synthetic calls may do."""
        return Policy(
            inside=self.inside,
            third_parties=self.third_parties,
            default_third_party=self.default_third_party,
            tunnels=self.egress_tunnels,
        )

    @model_validator(mode="after")
    def _egress_makes_sense(self) -> Self:
        if not self.egress:
            for name, field in EgressSettings.model_fields.items():
                if name != "control" and getattr(self, name) != field.default:
                    said = f"--{name.replace('_', '-')}" if name not in _ONLY_IN_FILE else f"{name} in reamp.yaml"
                    raise ValueError(f"{said}: it is for an egress: say --egress as well")
            return self
        host, port = parse_address(self.egress)
        if not _is_loopback(host) and not self.egress_open:
            raise ValueError(
                f"--egress {self.egress}: other machines could send what they like through it, in the app's name. Use "
                "127.0.0.1; or say --egress-open where nobody else can reach it"
            )
        control = parse_address(self.control)[1]
        if not control:
            raise ValueError("--control: give it a port, with --egress: no call may go there, so it has to be known")
        from addons.egress.destinations import Destinations

        destinations = Destinations(self.egress_map, self.egress_intercept)
        own = {port, control} - {0}
        for target in destinations.targets:
            if target.port in own and _is_loopback(target.host):
                raise ValueError(f"--egress-map: {target.authority} is the sidecar itself: calls would go in circles")
        return self

    def egress_plan(
        self, state: Path, control: str, options: dict[str, Any], *, believes: bool = False
    ) -> "EgressPlan | None":
        """Give what the supervisor has to know. `options`: the worker's, of which some are the egress's, too.

        `believes`: whether a call may bear the mark of a dark copy, since some are served behind this sidecar.
        """
        if not self.egress:
            return None
        from addons.egress.annex import EgressPlan

        names = ("reamp_public_key", "reamp_audience", "reamp_revoked")
        return EgressPlan(
            listen=self.egress,
            state=state,
            age=int(self.egress_trace_age),
            mapped=self.egress_map,
            intercepted=self.egress_intercept,
            control=control,
            trust=self.egress_ca,
            judging={**{name: options[name] for name in names}, "reamp_trust_dark": believes},
            styles=self.egress_trace,
            sampled=self.egress_trace_sampled,
            policy=self.policy(),
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
