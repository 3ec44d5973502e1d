import stat
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captures.errors import CaptureError
from captures.redaction import PREFIX, Redactor, Rules, load_key, without_userinfo
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
    assume(bare(a) or bare(b))  # of nothing, nothing is made
    assert (one(b"x-api-key", a) == one(b"x-api-key", b)) == (bare(a) == bare(b))


def bare(secret: bytes) -> bytes:
    """The secret without blanks and quotes around it."""
    secret = secret.strip()
    return secret[1:-1].strip() if len(secret) > 1 and secret[:1] == secret[-1:] == b'"' else secret


SECRET_NAMES = """
    authorization proxy-authorization x-authorization authentication x-authentication auth x-auth php-auth-pw
    cookie cookie2 set-cookie x-original-cookie
    api-key apikey api_key x-api-key x_api_key x-api-key-2 X-ApiKey ocp-apim-subscription-key x-functions-key
    access-key secret-key private-key x-goog-api-key x-amz-access-key-id x-ms-encryption-key
    token access_token access-token accesstoken x-accesstoken id_token refresh_token x-auth-token x-amz-security-token
    x-amzn-oidc-accesstoken x-amzn-oidc-data x-forwarded-access-token x-vault-token private-token job-token
    session sessionid session-id session_id x-session phpsessid jsessionid sid x-sid
    secret x-secret client_secret password x-password passwd x-passphrase pwd pw pass x-pass x-otp otp
    jwt x-jwt x-goog-iap-jwt-assertion cf-access-jwt-assertion dpop x-bearer
    csrftoken x-csrftoken x-csrf-token x-xsrftoken x-xsrf-token xsrf
    signature x-signature x-hub-signature-256 stripe-signature x-shopify-hmac-sha256 x-credentials x-amz-credential
    x-ms-client-principal x-endpoint-api-userinfo x-saml-response x-kerberos-ticket
""".split()  # noqa: SIM905 - a list would take a page

PLAIN_NAMES = """
    host :authority authority user-agent accept accept-encoding accept-language accept-charset referer origin via te
    connection keep-alive upgrade upgrade-insecure-requests cache-control pragma priority range expect from date dnt
    content-type content-length content-encoding content-language content-md5 content-disposition transfer-encoding
    if-match if-none-match if-modified-since forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip
    x-request-id x-correlation-id traceparent tracestate baggage x-b3-traceid x-amzn-trace-id x-load-test
    sec-fetch-mode sec-fetch-site sec-fetch-dest sec-fetch-user sec-ch-ua sec-ch-ua-platform sec-gpc save-data
    sec-websocket-key sec-websocket-version sec-websocket-extensions sec-websocket-accept idempotency-key
    access-control-request-method access-control-request-headers access-control-request-private-network
    x-requested-with x-http-method-override grpc-timeout last-event-id www-authenticate proxy-authenticate cf-ray
""".split()  # noqa: SIM905 - a list would take a page


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_no_secret_survives(name: str) -> None:
    for written in (name, name.upper(), f"{name} ", f"\t{name}", name.replace("-", "_")):
        assert b"hunter2" not in one(written.encode(), b"hunter2")
        assert b"hunter2" not in one(written.encode(), b"a=hunter2")


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_what_is_no_secret_stays(name: str) -> None:
    assert one(name.encode(), b"value") == one(name.title().encode(), b"value") == b"value"


@pytest.mark.parametrize("name", [b"Host", b"host", b"HOST "])
def test_userinfo_is_cut_off_a_host(name: bytes) -> None:
    assert one(name, b"user:s3cret@shop.example:8080") == b"shop.example:8080"
    assert one(name, b"a@b:s3cret@shop.example") == b"shop.example"
    assert without_userinfo("user:s3cret@shop.example:8080") == without_userinfo("shop.example:8080")


def test_another_key_gives_other_pseudonyms() -> None:
    assert one(b"token", b"s") != one(b"token", b"s", Redactor(bytes(32)))


@pytest.mark.parametrize("scheme", [b"Bearer", b"basic", b"Digest", b"DPoP", b"AWS4-HMAC-SHA256"])
def test_the_scheme_of_an_authorization_stays(scheme: bytes) -> None:
    value = one(b"Authorization", scheme + b" abc.def")
    assert value.startswith(scheme + b" " + PREFIX)
    assert b"abc" not in value


@pytest.mark.parametrize("value", [b" Bearer abc", b"Bearer\tabc", b"Bearer  abc ", b'Bearer "abc"'])
def test_blanks_and_quotes_make_no_other_session(value: bytes) -> None:
    assert one(b"Authorization", value) == one(b"Authorization", b"Bearer abc")


def test_a_quoted_cookie_is_the_same_session() -> None:
    plain = one(b"cookie", b"sid=abc; a=b")
    assert one(b"cookie", b'sid="abc"; a=b') == one(b"cookie", b"sid= abc ; a=b") == plain
    assert one(b"cookie", b'sid="abc') != plain


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
        (b"a=", redactor.pseudonym(b"a=")),
        (b"dGhpcyBpcyBtZQ==", redactor.pseudonym(b"dGhpcyBpcyBtZQ==")),
        (b"a=b; c2VjcmV0cw=", b"a=" + redactor.pseudonym(b"b") + b"; " + redactor.pseudonym(b"c2VjcmV0cw=")),
        (b"a=b==", b"a=" + redactor.pseudonym(b"b==")),
        (b'a=""', b'a=""'),
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
        many = (b"x-%d-token" % number, b"v%d" % number)
        by.headers((many, (b"token", b"v" * 5000 + b"%d" % number), (b"token", b"v" * 3000 + b"%d" % number)))
    assert len(by._headers._redacted) <= 4096
    assert all(sum(map(len, known)) < 5 << 20 for known in by._headers._by_rule.values())
    assert not any(len(value) > 4096 for known in by._headers._by_rule.values() for value in known)


def test_names_can_be_chosen() -> None:
    by = Redactor(KEY, Rules(extends="nothing", headers=["X-Mine"]))
    assert one(b"x-mine", b"s", by).startswith(PREFIX)
    assert one(b"x-other-token", b"abc", by) == b"abc"
    spared = Redactor(KEY, Rules(extends="nothing", headers=["*mine*", "!not-mine"]))
    assert [one(name, b"s", spared) for name in (b"not-mine", b"Not_Mine")] == [b"s", b"s"]
    assert one(b"x_mine", b"s", spared).startswith(PREFIX)


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
