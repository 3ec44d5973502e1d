"""What a key is good for, and which keys and runs were revoked: as text, for the signer and for the verifier."""

import math
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loadtag import Revoked, Signer, TagError, Validity, Verifier, parse
from loadtag.keys import KeyFileError, generate, load_private, load_public
from loadtag.validity import NOBODY, read_moment, read_revoked, read_validity, write_moment, write_validity

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")
PLAIN = Signer(PRIVATE)
ID = PLAIN.key_id
START, END = 1_700_000_000, 1_800_000_000
LIMITED = Signer(PRIVATE, Validity(START, END, ("shop", "bank")))

NAMES = st.text("abcXYZ019_-", min_size=1, max_size=64)
TIMES = st.integers(0, 253_402_300_799)  # to the end of the year 9999


@st.composite
def validities(draw: st.DrawFn) -> Validity:
    early, late = sorted(draw(st.lists(TIMES, min_size=2, max_size=2, unique=True)))
    times = draw(st.sampled_from([(early, late), (None, late), (early, None), (None, None)]))
    return Validity(*times, tuple(draw(st.lists(NAMES, max_size=3, unique=True))))


def verdict(judge: Verifier, token: str, now: float) -> str:
    try:
        judge.verify(token, now)
    except TagError as error:
        return error.reason
    return "valid"


@given(validities())
def test_what_is_written_reads_back(validity: Validity) -> None:
    text = write_validity(validity, ID)
    assert read_validity(text, ID) == validity
    assert read_validity(f"# for the night runs\r\n\r\n  {text}", ID) == validity


@given(TIMES)
def test_moments_read_back(seconds: int) -> None:
    assert read_moment(write_moment(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Not-After 2027-03-01T00:00:00Z", "line 1 is no attribute"),
        ("Key-Id: " + ID + "\nNot-Afer: 2027-03-01T00:00:00Z", "line 2 is no attribute"),
        ("Not-After: 2027-03-01", "write it like"),
        ("Not-After: 2027-03-01T00:00:00", "write it like"),
        ("Not-After: 2027-03-01T00:00:00+01:00", "write it like"),
        ("Not-After: 2027-02-30T00:00:00Z", "no time that there is"),
        ("Not-After: never", "write it like"),
        ("Not-After:", "write it like"),
        ("Not-After: 2027-03-01T00:00:00Z\nNot-After: 2028-03-01T00:00:00Z", "stands there 2 times"),
        ("Not-Before: 2027-03-01T00:00:00Z\nNot-After: 2027-03-01T00:00:00Z", "never good"),
        ("Audience: two words", "Audience 'two words'"),
        ("Audience:", "Audience ''"),
        ("Audience: shop, bank", "Audience 'shop, bank'"),
        ("Key-Id: 00000000000", "but the key below it is"),
        ("some words", "line 1 is no attribute"),
    ],
)
def test_a_damaged_attribute_is_an_error_and_never_passed_over(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_validity(text, ID)
    for path, load in zip(generate(tmp_path, "k"), (load_private, load_public), strict=True):
        path.write_text(f"{text}\n" + path.read_text().partition("\n")[2])
        with pytest.raises(KeyFileError, match="but the key below it is|" + message):
            load(path)


def test_both_files_of_a_pair_say_what_it_is_good_for(tmp_path: Path) -> None:
    validity = Validity(START, END, ("shop",))
    private, public = generate(tmp_path, "k", validity)
    assert load_private(private).validity == validity
    assert [key.validity for key in load_public(public)] == [validity]


def test_each_key_of_a_ring_has_its_own(tmp_path: Path) -> None:
    (_, old), (_, new) = generate(tmp_path, "old", Validity(None, END)), generate(tmp_path, "new", Validity(END))
    ring = tmp_path / "ring.pub"
    ring.write_text(f"# the old one\n{old.read_text()}\n# the new one\n{new.read_text()}# that is all\n")
    assert [key.validity for key in load_public(ring)] == [Validity(None, END), Validity(END)]


def test_attributes_after_the_last_key_belong_to_none(tmp_path: Path) -> None:
    _, public = generate(tmp_path, "k")
    public.write_text(f"{public.read_text()}Not-After: 2027-03-01T00:00:00Z\n")
    with pytest.raises(KeyFileError, match="line 5 stands after the last key"):
        load_public(public)


def test_one_key_is_not_good_for_two_things(tmp_path: Path) -> None:
    _, public = generate(tmp_path, "k")
    public.write_text(f"{public.read_text()}Audience: shop\n{public.read_text()}")
    with pytest.raises(KeyFileError, match="stands there twice"):
        load_public(public)
    with pytest.raises(ValueError, match="stands there twice"):
        Verifier([PLAIN.public_key, LIMITED.public_key], "shop")
    assert verdict(Verifier([PLAIN.public_key] * 2, "shop"), PLAIN.sign("r", END, "shop"), 0) == "valid"


def test_no_message_about_a_private_key_holds_what_was_not_understood(tmp_path: Path) -> None:
    private, _ = generate(tmp_path, "k")
    secret = private.read_text().splitlines()[2]
    private.write_text(f"{secret}\n{private.read_text()}{secret}\n")
    with pytest.raises(KeyFileError) as caught:
        load_private(private)
    assert secret[10:30] not in repr(caught.value) + repr(caught.value.__context__)


# --- the signer


@given(st.integers(START, END - 1), st.integers(1, 10**8))
def test_no_token_outlives_its_key(now: int, lifetime: int) -> None:
    token = LIMITED.sign("run", now + lifetime, "shop", now)
    assert now < parse(token).tag.expires == min(now + lifetime, END)


def test_the_signer_refuses_what_its_key_is_not_good_for() -> None:
    for now, audience, reason in (
        (START - 1, "shop", "key-early"),
        (END, "shop", "key-expired"),
        (END + 1, "elsewhere", "key-expired"),
        (START, "elsewhere", "key-audience"),
        (None, "elsewhere", "key-audience"),
    ):
        with pytest.raises(TagError) as caught:
            LIMITED.sign("run", END, audience, now)
        assert caught.value.reason == reason
        assert caught.value.by_known_key
    assert parse(LIMITED.sign("run", END + 5, "bank")).tag.expires == END


# --- the verifier


def test_a_token_counts_only_while_its_key_does() -> None:
    """Though the signer knew nothing of it: what counts is what stands where it is verified."""
    token = PLAIN.sign("run", END + 1000, "shop")
    judge = Verifier([LIMITED.public_key], "shop")
    times = (START - 1, START - 0.5, START, END - 0.5, END, END + 2000, START)
    assert [verdict(judge, token, now) for now in times] == [
        *["key-early"] * 2, *["valid"] * 2, *["key-expired"] * 3,
    ]  # fmt: skip


def test_a_key_that_is_not_good_for_the_audience() -> None:
    token = PLAIN.sign("run", END, "stage")
    assert verdict(Verifier([LIMITED.public_key], "stage"), token, START) == "key-audience"


def test_revoked_keys_and_runs_count_no_more_and_again_when_they_are_not() -> None:
    judge, token = Verifier([PLAIN.public_key], "shop"), PLAIN.sign("run-1", END, "shop")
    for revoked, reason in (
        (NOBODY, "valid"),
        (Revoked(frozenset({ID})), "key-revoked"),
        (Revoked(frozenset({"00000000000"}), frozenset({"run-2"})), "valid"),
        (Revoked(runs=frozenset({"run-1"})), "run-revoked"),
        (None, "revocations-unknown"),
        (NOBODY, "valid"),
    ):
        judge.revoke(revoked)
        assert [verdict(judge, token, START) for _ in range(2)] == [reason] * 2, revoked
        tag = parse(token).tag
        assert (judge.standing(tag, START) or "valid") == reason


def test_a_revoked_key_stays_revoked_after_it_was_removed() -> None:
    """Else its load would pass for that of strangers, which is let through without its tag."""
    token = PLAIN.sign("run-1", END, "shop")
    for revoked, reason, known in ((NOBODY, "unknown-key", False), (Revoked(frozenset({ID})), "key-revoked", True)):
        with pytest.raises(TagError) as caught:
            Verifier([], "shop", revoked).verify(token, START)
        assert (caught.value.reason, caught.value.by_known_key) == (reason, known)
        assert Verifier([], "shop", revoked).standing(parse(token).tag, START) == reason


@pytest.mark.parametrize("reason", ["malformed", "unknown-key", "signature"])
def test_what_anybody_can_write_is_not_by_a_known_key(reason: str) -> None:
    assert not TagError(reason).by_known_key


def test_a_stream_stands_as_long_as_its_key_and_not_as_its_token() -> None:
    judge, tag = Verifier([LIMITED.public_key], "shop"), parse(PLAIN.sign("run", START + 60, "shop")).tag
    assert [judge.standing(tag, now) for now in (START, START + 61, END - 1, END)] == [None, None, None, "key-expired"]
    assert judge.standing(tag._replace(audience="bank"), START) == "audience"


CASES = [
    LIMITED.sign("run-1", END, "shop"),
    PLAIN.sign("run-1", END + 20, "shop"),
    PLAIN.sign("run-2", START + 5, "shop"),
    PLAIN.sign("run-3", END, "stage"),
    Signer(Ed25519PrivateKey.from_private_bytes(bytes(32))).sign("run-1", END, "shop"),
]
LISTS = [NOBODY, None, Revoked(frozenset({ID})), Revoked(runs=frozenset({"run-1"}))]
STEPS = st.sampled_from(LISTS) | st.tuples(
    st.sampled_from(CASES),
    st.sampled_from([START, END]).flatmap(lambda at: st.floats(at - 30, at + 30)) | st.just(math.nan),
)


@given(st.lists(STEPS, max_size=30))
def test_memory_never_changes_a_verdict(steps: list[Revoked | tuple[str, float] | None]) -> None:
    judge, latest = Verifier([LIMITED.public_key], "shop"), -math.inf
    revoked: Revoked | None = NOBODY
    for step in steps:
        if step is None or isinstance(step, Revoked):
            revoked = step
            judge.revoke(revoked)
        else:
            token, now = step
            latest = max(latest, now)
            fresh = Verifier([LIMITED.public_key], "shop", revoked)
            assert verdict(judge, token, now) == verdict(fresh, token, latest)


# --- the list


def test_a_list_of_revocations() -> None:
    text = f"# ours\n\nkey {ID}  # stolen\r\n\trun night-1#no blank needed\nrun night-1\n"
    assert read_revoked(text) == Revoked(frozenset({ID}), frozenset({"night-1"}))
    assert read_revoked("") == NOBODY


@pytest.mark.parametrize(
    "line", [ID, "key", f"key {ID} {ID}", f"key {ID[:-1]}", "runs x", "run a.b", f"Key {ID}", "run é"]
)
def test_a_line_that_revokes_nothing_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="line 2, "):
        read_revoked(f"# ours\n{line}\n")
