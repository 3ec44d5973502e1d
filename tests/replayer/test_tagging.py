"""A token that has expired is never sent, whatever the clock does."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loadtag import Signer, parse
from replayer.tagging import MARGIN, Tag

SIGNER = Signer(Ed25519PrivateKey.generate())


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
