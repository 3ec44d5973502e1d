"""What is done with a synthetic call. Pure.

A rule that blocks or stubs holds for a call of which it matches the destination *or* the Host, one that lets calls pass
only for the destination (or a name that the owner has mapped to it): where two names are in a call, either may be the
third party. And where servers might
understand a path in two ways, a rule with a path can't tell, so the call ends here.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from addons.parties.places import Glob, Hosts, Path, Place, path
from addons.parties.rule import Action, PartyRule

Why = Literal["rule", "inside", "default", "doubt"]


class Call(NamedTuple):
    """An outgoing request, as far as rules look at it."""

    destination: str
    """The host that the connection is made to."""
    names: tuple[str, ...]
    """The other names for it in the call, such as that in its Host header."""
    port: int
    method: str
    target: str
    """Path and query, as they were sent."""
    mapped: frozenset[str] = frozenset()
    """Those of the names of which the owner says that they stand for the destination."""


class Choice(NamedTuple):
    """What is done."""

    action: Action
    inside: bool
    """Whether the destination is within the trust boundary, so that the tag may go there."""
    rule: int | None
    """The number of the rule that says so; None: no rule does."""
    why: Why


class _Matcher:
    """One rule, ready to be asked."""

    def __init__(self, rule: PartyRule) -> None:
        self.rule = rule
        self.place: Place = rule.match
        self._hosts = Hosts([self.place.host])
        self._path = Glob(self.place.path)

    def names(self, name: str, port: int, *, inside: bool) -> bool:
        """Whether it is about this host. Only a rule that names it says anything of one that is inside."""
        if self.place.port not in (None, port) or (inside and not self.place.exact):
            return False
        return self._hosts.fits(name)

    def fits(self, where: Path) -> bool:
        """Whether it is about this path."""
        if not self.place.path or self._path.fits(where.text):
            return True
        # Many servers answer both alike. What is refused or answered here may be more than what was meant.
        return self.rule.action != "pass" and self._path.fits(where.text.rstrip("/") or "/")


class Chooser:
    """Decides for each synthetic call."""

    def __init__(self, rules: Sequence[PartyRule], inside: Sequence[str], default: Literal["pass", "block"]) -> None:
        """`rules`: the first one that fits counts. `inside`: what `inside_pattern` gave. `default`: for the rest."""
        self._matchers = [_Matcher(rule) for rule in rules]
        self._inside = Hosts(inside)
        self._default = default

    def inside(self, host: str) -> bool:
        """Whether a host is within the trust boundary."""
        return self._inside.fits(host)

    def choose(self, call: Call) -> Choice:
        """Decide what is done with a call."""
        return self._choose(call, path(call.target))

    def tunnel(self, call: Call) -> Choice:
        """Decide about a tunnel that nobody looks into: it passes only if each call in it would."""
        return self._choose(call, None)

    def _choose(self, call: Call, where: Path | None) -> Choice:
        inside = self._inside.fits(call.destination)
        names = [(call.destination, inside), *((name, self._inside.fits(name)) for name in call.names)]
        for number, matcher in enumerate(self._matchers):
            rule = matcher.rule
            known = {call.destination, *call.mapped}
            asked = [one for one in names if one[0] in known] if rule.action == "pass" else names
            if not any(matcher.names(name, call.port, inside=within) for name, within in asked):
                continue
            if where is None and (rule.method or matcher.place.path) and rule.action == "pass":
                return Choice("block", inside, number, "doubt")
            if where is None:
                return Choice(rule.action, inside, number, "rule")
            if rule.method and call.method.upper() not in rule.method:
                continue
            if matcher.place.path and not where.plain:
                return Choice("block", inside, number, "doubt")
            if matcher.fits(where):
                return Choice(rule.action, inside, number, "rule")
        if inside:
            return Choice("pass", inside, None, "inside")
        return Choice(self._default, inside, None, "default")
