"""Signing and verifying, and the memory of the verifier."""

import math

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loadtag import LoadTag, PublicKey, Signer, TagError, Verifier, format_token, parse

# RFC 8032, section 7.1, TEST 1.
RFC_SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

PRIVATE = Ed25519PrivateKey.from_private_bytes(RFC_SECRET)
SIGNER = Signer(PRIVATE)
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
EXPIRES = 1_800_000_000
NOW = EXPIRES - 60.0
TOKEN = SIGNER.sign("run-1", EXPIRES, "shop")
TAG = LoadTag(SIGNER.key_id, "run-1", EXPIRES, "shop")


class CountingKey(PublicKey):
    """Counts the costly part."""

    def __init__(self, signer: Signer) -> None:
        super().__init__(signer._key.public_key())
        self.checks = 0

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        self.checks += 1
        return super().verifies(signature, signed)


def verifier(*signers: Signer, audience: str = "shop") -> Verifier:
    return Verifier([signer.public_key for signer in signers or (SIGNER,)], audience)


def reason(judge: Verifier, token: str, now: float = NOW) -> str:
    """The reason for which a token is refused, or 'valid'."""
    try:
        judge.verify(token, now)
    except TagError as error:
        return error.reason
    return "valid"


def forgery(number: int) -> str:
    return format_token(TAG, number.to_bytes(64, "big"))


def test_a_good_token_verifies() -> None:
    assert verifier().verify(TOKEN, NOW) == TAG


def test_it_is_plain_ed25519_as_in_rfc_8032() -> None:
    """Any other implementation can make and check tokens: no prehash, no context, no framing."""
    assert PRIVATE.public_key().public_bytes_raw() == RFC_PUBLIC
    _, signature, signed = parse(TOKEN)
    assert signed == TOKEN.rpartition(".")[0].encode()
    PRIVATE.public_key().verify(signature, signed)  # raises if not
    by_hand = f"v1.{SIGNER.key_id}.other.{EXPIRES}.shop"
    assert verifier().verify(format_token(parse(TOKEN).tag._replace(run_id="other"), PRIVATE.sign(by_hand.encode())), 0)


def test_the_format_does_not_change_unnoticed() -> None:
    """Written down once: tokens of one release must verify in the next, and Ed25519 is deterministic."""
    assert SIGNER.key_id == "If4x36FUomF"
    assert TOKEN == (
        "v1.If4x36FUomF.run-1.1800000000.shop."
        "-tNWcpoDXgPIta2PxBFnXlkRf2rKHMVH7JkRLkUNLuySltSbmU6RVtpnxTviRItgd-X0de2LZA4Js--3z1fgBg"
    )


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_no_byte_can_be_changed(position: int) -> None:
    judge = verifier()
    for replacement in "A0_.\x00é":
        if replacement != TOKEN[position]:
            changed = TOKEN[:position] + replacement + TOKEN[position + 1 :]
            assert reason(judge, changed) in {"malformed", "unknown-key", "signature"}


@given(st.integers(0, len(TOKEN)), st.integers(0, len(TOKEN)), st.text(max_size=8))
def test_no_slice_can_be_replaced(start: int, end: int, text: str) -> None:
    changed = TOKEN[:start] + text + TOKEN[end:]
    assert (reason(verifier(), changed) == "valid") == (changed == TOKEN)


def test_a_token_is_valid_until_just_before_it_expires() -> None:
    assert reason(verifier(), TOKEN, EXPIRES - 0.001) == "valid"
    assert reason(verifier(), TOKEN, EXPIRES) == "expired"


def test_a_remembered_token_expires() -> None:
    judge = verifier()
    assert [reason(judge, TOKEN, EXPIRES + step) for step in (-2, -1, 0, 1)] == ["valid", "valid", "expired", "expired"]


def test_another_audience() -> None:
    assert reason(verifier(audience="bank"), TOKEN) == "audience"


def test_an_unknown_key() -> None:
    assert reason(verifier(OTHER), TOKEN) == "unknown-key"


def test_another_key_under_a_known_id() -> None:
    forged = format_token(TAG, OTHER._key.sign(parse(TOKEN).signed))
    assert reason(verifier(), forged) == "signature"


def test_without_keys_nothing_verifies() -> None:
    assert reason(Verifier([], "shop"), TOKEN) == "unknown-key"


def test_two_keys_at_once_so_that_keys_can_be_changed_without_a_gap() -> None:
    judge = verifier(SIGNER, OTHER)
    assert judge.verify(TOKEN, NOW).key_id == SIGNER.key_id
    assert judge.verify(OTHER.sign("run-2", EXPIRES, "shop"), NOW).key_id == OTHER.key_id


def test_only_what_was_signed_can_be_called_expired_or_meant_for_another_audience() -> None:
    forged = forgery(1)
    assert reason(verifier(), forged, EXPIRES + 1) == "signature"
    assert reason(verifier(audience="bank"), forged) == "signature"


def test_a_token_is_verified_once() -> None:
    key = CountingKey(SIGNER)
    judge = Verifier([key], "shop")
    for _ in range(100):
        assert reason(judge, TOKEN) == "valid"
        assert reason(judge, forgery(0)) == "signature"
    assert key.checks == 2


def test_an_expired_token_is_verified_once() -> None:
    key = CountingKey(SIGNER)
    judge = Verifier([key], "shop")
    for _ in range(100):
        assert reason(judge, TOKEN, EXPIRES) == "expired"
    assert key.checks == 1


def test_forgeries_push_no_good_token_out_and_are_not_all_remembered() -> None:
    key = CountingKey(SIGNER)
    judge = Verifier([key], "shop")
    assert reason(judge, TOKEN) == "valid"
    for number in range(1500):
        assert reason(judge, forgery(number)) == "signature"
    assert key.checks == 1501
    assert reason(judge, TOKEN) == "valid"
    assert key.checks == 1501, "the good token was forgotten"
    assert reason(judge, forgery(0)) == "signature"
    assert key.checks == 1502, "every forgery was remembered"


def test_not_all_good_tokens_are_remembered_either() -> None:
    key = CountingKey(SIGNER)
    judge = Verifier([key], "shop")
    tokens = [SIGNER.sign(f"run-{number}", EXPIRES, "shop") for number in range(1100)]
    assert {reason(judge, token) for token in tokens} == {"valid"}
    assert key.checks == 1100
    assert reason(judge, tokens[-1]) == "valid"
    assert key.checks == 1100
    assert reason(judge, tokens[0]) == "valid"
    assert key.checks == 1101


CASES = [
    TOKEN,
    SIGNER.sign("run-2", EXPIRES + 10, "shop"),
    SIGNER.sign("run-3", EXPIRES, "bank"),
    OTHER.sign("run-4", EXPIRES, "shop"),
    forgery(7),
    "nonsense",
]
TIMES = st.floats(EXPIRES - 30, EXPIRES + 30) | st.sampled_from([0.0, math.nan, -math.inf])


@given(st.lists(st.tuples(st.sampled_from(CASES), TIMES), max_size=30))
def test_memory_never_changes_a_verdict(calls: list[tuple[str, float]]) -> None:
    """Whatever was asked before, in whatever order and with whatever clock: the answer is that of a fresh verifier
    asked at the latest time so far. So a clock that steps back brings no expired token back to life."""
    judge = verifier()
    latest = -math.inf
    for token, now in calls:
        latest = max(latest, now)
        assert reason(judge, token, now) == reason(verifier(), token, latest)


def test_a_clock_that_steps_back_revives_nothing() -> None:
    judge = verifier()
    assert reason(judge, TOKEN, EXPIRES + 1) == "expired"
    assert reason(judge, TOKEN, NOW) == "expired"
    assert reason(judge, SIGNER.sign("never-seen-before", EXPIRES, "shop"), NOW) == "expired"


@pytest.mark.parametrize(("run_id", "audience"), [("", "shop"), ("a.b", "shop"), ("a", "shop shop"), ("é", "shop")])
def test_the_signer_makes_only_what_can_be_read(run_id: str, audience: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 64"):
        SIGNER.sign(run_id, EXPIRES, audience)


def test_no_key_material_is_shown() -> None:
    for shown in (repr(SIGNER), str(SIGNER), repr(SIGNER.public_key)):
        assert SIGNER.key_id in shown
        assert RFC_SECRET.hex() not in shown
        assert repr(RFC_SECRET) not in shown
        assert len(shown) < 60
