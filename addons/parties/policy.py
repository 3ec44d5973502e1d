"""All that the owner says of third parties, as one value: read from settings, handed to the process that goes by it."""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from addons.parties.choice import Chooser
from addons.parties.places import DEFAULT, inside_patterns
from addons.parties.rule import PartyRule, check

if TYPE_CHECKING:
    from addons.parties.standin import StandIn

_SEED = "reamp"


class Policy(BaseModel):
    """What synthetic calls may do. Without a word of the owner they stay inside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inside: tuple[str, ...] = (DEFAULT,)
    third_parties: tuple[PartyRule, ...] = ()
    default_third_party: Literal["pass", "block"] = "block"
    tunnels: Literal["pass", "block"] = "pass"
    """What becomes of tunnels to third parties that are not looked into: nobody knows whose calls are in them."""

    @field_validator("inside")
    @classmethod
    def _are_patterns(cls, inside: tuple[str, ...]) -> tuple[str, ...]:
        inside_patterns(inside)
        return inside

    @field_validator("third_parties")
    @classmethod
    def _can_all_come_to_something(cls, rules: tuple[PartyRule, ...]) -> tuple[PartyRule, ...]:
        return check(rules)

    def __str__(self) -> str:
        """Say in words what it is."""
        count = len(self.third_parties)
        rules = "no rule" if not count else f"{count} rule{'s' if count > 1 else ''}"
        rest = "passes, without the load tag" if self.default_third_party == "pass" else "is blocked"
        return f"third parties: {rules}; every other synthetic call to one {rest}"

    def kept_from(self) -> list[tuple[str, int]]:
        """Give the places outside that rules keep synthetic calls from: host, as the rule has it, and port of TLS."""
        chooser = self.chooser()
        found: dict[tuple[str, int], None] = {}
        for rule in self.third_parties:
            host = rule.match.host.replace("*", "x")
            if rule.action != "pass" and not chooser.inside(host) and rule.match.port != 80:
                found[rule.match.host, rule.match.port or 443] = None
        return list(found)

    def written(self) -> str:
        """Give it as JSON, from which it can be read again (``model_validate_json``)."""
        # What was not said has to stay unsaid: some things must not be said together with others.
        return self.model_dump_json(exclude_unset=True)

    def chooser(self) -> Chooser:
        """Make what decides."""
        return Chooser(self.third_parties, inside_patterns(self.inside), self.default_third_party)

    def stand_in(self) -> "StandIn":
        """Make what answers. Raises UnitError if a file of a body has gone."""
        from addons.parties.standin import StandIn  # noqa: PLC0415 - a template engine, for the process that answers

        return StandIn(self.third_parties, _SEED)
