import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.errors import CaptureError
from captures.redaction import DEFAULT, PREFIX, Redactor, load_key
from tests.captures.making import KEY

redactor = Redactor(KEY)
secrets = st.binary(min_size=1, max_size=200)


def one(name: bytes, value: bytes, by: Redactor = redactor) -> bytes:
    (redacted,) = by.headers(((name, value),))
    assert redacted[0] == name
    return redacted[1]


def test_headers_without_secrets_come_back_as_the_very_same_tuple() -> None:
    plain = ((b"Host", b"a"), (b"Accept", b"*/*"), (b"Idempotency-Key", b"7"), (b"Sec-WebSocket-Key", b"x"))
    assert redactor.headers(plain) is plain


def test_order_names_and_the_rest_stay() -> None:
    mixed = ((b"Host", b"a"), (b"X-API-KEY", b"s3cret"), (b"Accept", b"*/*"), (b"x-api-key", b"s3cret"))
    redacted = redactor.headers(mixed)
    assert [name for name, _ in redacted] == [name for name, _ in mixed]
    assert redacted[0] == mixed[0]
    assert redacted[1][1] == redacted[3][1] != b"s3cret"
    assert mixed[1][1] == b"s3cret", "the original is never touched"


@given(secrets, secrets)
def test_equal_secrets_and_only_they_get_equal_pseudonyms(a: bytes, b: bytes) -> None:
    assert (one(b"x-api-key", a) == one(b"x-api-key", b)) == (a == b)


@given(st.binary(min_size=4, max_size=200), st.sampled_from(DEFAULT))
def test_no_secret_survives(secret: bytes, pattern: str) -> None:
    name = pattern.replace("*", "x-any").encode()
    value = one(name, b"=" + secret if "cookie" in pattern else secret)
    assert secret not in value.removeprefix(b"=")


def test_another_key_gives_other_pseudonyms() -> None:
    assert one(b"token", b"s") != one(b"token", b"s", Redactor(bytes(32)))


@pytest.mark.parametrize("scheme", [b"Bearer", b"basic", b"Digest", b"DPoP", b"AWS4-HMAC-SHA256"])
def test_the_scheme_of_an_authorization_stays(scheme: bytes) -> None:
    value = one(b"Authorization", scheme + b" abc.def")
    assert value.startswith(scheme + b" " + PREFIX)
    assert b"abc" not in value


@pytest.mark.parametrize("value", [b"s3cret-without-scheme", b"s3cret and more", b"Bearer-s3cret x"])
def test_what_is_no_known_scheme_goes_too(value: bytes) -> None:
    assert one(b"Authorization", value).startswith(PREFIX)


def test_a_token_is_the_same_wherever_it_turns_up() -> None:
    assert one(b"authorization", b"Bearer t0ken").endswith(one(b"x-auth-token", b"t0ken"))


def test_cookies_keep_their_names_and_sessions_stay_joinable() -> None:
    first = one(b"Cookie", b"sid=abc; theme=dark")
    second = one(b"cookie", b"theme=light;sid=abc")
    assert [pair.strip().split(b"=")[0] for pair in first.split(b";")] == [b"sid", b"theme"]
    assert first.split(b"; ")[0] == second.split(b";")[1]
    assert one(b"Set-Cookie", b"sid=abc; Path=/; HttpOnly") == first.split(b";")[0] + b"; Path=/; HttpOnly"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"", b""),
        (b"a=", b"a="),
        (b"; ;", b"; ;"),
        (b"a=b=c", b"a=" + redactor.pseudonym(b"b=c")),
        (b"bare", redactor.pseudonym(b"bare")),
        (b" bare ", b" " + redactor.pseudonym(b"bare") + b" "),
        (b"=x", b"=" + redactor.pseudonym(b"x")),
    ],
)
def test_odd_cookies(value: bytes, kept: bytes) -> None:
    assert one(b"cookie", value) == kept


@given(st.binary(max_size=300))
def test_any_cookie_at_all_is_taken(value: bytes) -> None:
    one(b"cookie", value)
    one(b"set-cookie", value)
    one(b"authorization", value)


def test_a_strange_client_cannot_fill_the_memory() -> None:
    by = Redactor(KEY)
    for number in range(6000):
        by.headers(((b"x-%d-token" % number, b"v%d" % number), (b"token", b"v" * 5000 + b"%d" % number)))
    assert len(by._rules) <= 4096
    assert by._cached.cache_info().currsize <= 4096


def test_names_can_be_chosen() -> None:
    by = Redactor(KEY, ("X-Mine",))
    assert one(b"x-mine", b"s", by).startswith(PREFIX)
    assert one(b"cookie", b"sid=abc", by) == b"sid=abc"


def test_the_description_tells_keys_apart_and_gives_none_away() -> None:
    assert redactor.describe()["key"] != Redactor(bytes(32)).describe()["key"]
    assert KEY.hex() not in str(redactor.describe())


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "redaction.key"
    key = load_key(path)
    assert load_key(path) == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["redaction.key"]


def test_what_is_no_key_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "redaction.key"
    path.write_bytes(b"short")
    path.chmod(0o644)
    with pytest.raises(CaptureError, match="is not a redaction key: it has 5 bytes"):
        load_key(path)
    assert "can be read by others" in caplog.text
    with pytest.raises(CaptureError, match="redaction key"):
        load_key(path / "below")
    with pytest.raises(ValueError, match="32 bytes"):
        Redactor(b"short")
