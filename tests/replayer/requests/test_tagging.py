"""A token that has expired is never sent, whatever the clock does."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loadtag import Signer, Validity, parse
from replayer.requests.tagging import MARGIN, Tag, ailing, misdirected

PRIVATE = Ed25519PrivateKey.generate()
SIGNER = Signer(PRIVATE)
START, END = 1_800_000_000, 1_800_010_000
LIMITED = Signer(PRIVATE, Validity(START, END, ("shop", "bank")))


@given(
    st.floats(2, 3600),
    st.lists(st.floats(-5000, 5000), max_size=30),
)
def test_every_token_outlives_its_sending_by_the_margin_and_not_by_more_than_its_lifetime(
    lifetime: float, steps: list[float]
) -> None:
    tag, now = Tag(SIGNER, "run", "shop", lifetime), 1_800_000_000.0
    for step in steps:
        now += step
        expires = parse(tag.token(now).decode()).tag.expires
        assert now + min(MARGIN, lifetime - 1) <= expires <= now + lifetime


def test_signed_once_for_half_a_lifetime() -> None:
    tag = Tag(SIGNER, "run", "shop", 60)
    first = tag.token(1000.5)
    assert tag.token(1030.4) == first
    assert tag.token(1030.6) != first
    said = parse(first.decode()).tag
    assert (said.run_id, said.audience, said.expires) == ("run", "shop", 1060)


@given(st.floats(2, 3600), st.lists(st.floats(-3000, 6000), max_size=30))
def test_no_token_outlives_its_key_and_none_is_sent_when_it_is_over(lifetime: float, steps: list[float]) -> None:
    tag, now = Tag(LIMITED, "run", "shop", lifetime), START + 1.0
    for step in steps:
        now += step
        expires = parse(tag.token(now).decode()).tag.expires
        assert expires <= END
        if tag.over(now) is None:
            assert START <= now < now + min(MARGIN, lifetime - 1) <= expires <= now + lifetime
            assert tag.until <= END - MARGIN
        else:
            assert not START <= now < END - MARGIN


def test_what_ails_a_key_is_said() -> None:
    assert ailing(SIGNER, 0) is None
    assert ailing(LIMITED, START) is None
    assert "not good before 2027-01-15T08:00:00Z: wait" in (ailing(LIMITED, START - 1) or "")
    assert "was good until 2027-01-15T10:46:40Z: make a new pair" in (ailing(LIMITED, END) or "")
    assert misdirected(SIGNER, "elsewhere") is None
    assert misdirected(LIMITED, "bank") is None
    assert "is good for shop, bank, and not for elsewhere" in (misdirected(LIMITED, "elsewhere") or "")
