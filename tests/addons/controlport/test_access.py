"""Who may do what through the control port."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.controlport.access import Act, Asker, Tokens, no_change, objection, refusal
from addons.controlport.attempts import Attempts

CONTROL, ADMIN = "look-and-stop-0123456789", "reset-too-0123456789"
TOKENS = Tokens(CONTROL, ADMIN)
FAR = "203.0.113.9"


def status(act: Act, client: str, host: str, authorization: str, tokens: Tokens = TOKENS, pause: int = 0) -> int | None:
    problem = refusal(act, Asker(client, host, authorization), tokens, pause)
    if problem:
        assert CONTROL not in problem.model_dump_json()
        assert ADMIN not in problem.model_dump_json()
    return problem.status if problem else None


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize(
    ("client", "host"),
    [
        ("127.0.0.1", "127.0.0.1:8901"),
        ("127.0.0.1", "localhost:8901"),
        ("::1", "[::1]:8901"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_this_machine_may_do_all(act: Act, client: str, host: str) -> None:
    for authorization in ("", "Bearer guess", "Basic eDp5"):
        # A token for another site must not keep anybody from pulling the lever here, nor guesses by others.
        assert status(act, client, host, authorization, pause=60) is None


@pytest.mark.parametrize(
    ("authorization", "look", "pull", "reset"),
    [
        ("", 401, 401, 401),
        (f"Bearer {CONTROL}", None, None, 403),
        (f"bearer  {CONTROL}", None, None, 403),
        (f"Bearer {ADMIN}", None, None, None),
        (f"Basic {ADMIN}", 401, 401, 401),
        (f"Bearer {ADMIN}x", 401, 401, 401),
        ("Bearer ", 401, 401, 401),
        ("Bearer häme", 401, 401, 401),
    ],
)
def test_others_may_do_what_their_token_allows(
    authorization: str, look: int | None, pull: int | None, reset: int | None
) -> None:
    for client, host in ((FAR, "sidecar:8901"), (FAR, "127.0.0.1"), ("", "127.0.0.1"), ("2001:db8::1", "[::1]")):
        found = [status(act, client, host, authorization) for act in (Act.LOOK, Act.PULL, Act.RESET)]
        assert found == [look, pull, reset]
    assert status(Act.LOOK, FAR, "sidecar", authorization, Tokens()) == 401


@pytest.mark.parametrize("act", Act)
def test_a_web_page_that_calls_this_machine_by_a_name_of_its_own_may_do_nothing(act: Act) -> None:
    assert status(act, "127.0.0.1", "evil.example", "") == 403
    assert status(act, "127.0.0.1", "", "") == 403
    assert status(act, "127.0.0.1", "evil.example", f"Bearer {ADMIN}") is None


@given(st.text(max_size=50))
def test_no_other_token_opens_anything(guess: str) -> None:
    if guess.strip() not in (CONTROL, ADMIN):
        assert not TOKENS.rights(f"Bearer {guess}")
    assert not Tokens().rights(f"Bearer {guess}")


def test_after_too_many_wrong_tokens_only_a_stop_is_let_through_and_nothing_can_be_learnt_of_the_admin_token() -> None:
    assert status(Act.PULL, FAR, "sidecar", f"Bearer {CONTROL}", pause=9) is None
    for act in Act:
        for token in (ADMIN, "guess", *([CONTROL] if act is not Act.PULL else [])):
            assert status(act, FAR, "sidecar", f"Bearer {token}", pause=9) == 429
    assert status(Act.LOOK, FAR, "sidecar", "", pause=9) == 401


def test_tokens_do_not_show_themselves() -> None:
    shown = f"{TOKENS} {TOKENS!r} {Asker(FAR, 'sidecar', f'Bearer {CONTROL}')!r}"
    assert CONTROL not in shown
    assert ADMIN not in shown


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_a_change_has_to_be_json(content_type: str) -> None:
    problem = no_change(content_type)
    assert problem is not None
    assert problem.status == 415
    assert no_change("Application/JSON; charset=utf-8") is None


@pytest.mark.parametrize(
    ("where", "tokens", "tls", "insecure", "says"),
    [
        ("127.0.0.1", Tokens(), False, False, ""),
        ("::1", Tokens("short"), False, False, ""),
        ("localhost", Tokens(), False, False, ""),
        ("0.0.0.0", Tokens(), True, False, "REAMP_SIDECAR_CONTROL_TOKEN"),
        ("0.0.0.0", Tokens(), False, True, "REAMP_SIDECAR_CONTROL_TOKEN"),
        ("::", TOKENS, False, False, "--control-cert"),
        ("sidecar.example", TOKENS, False, False, "--control-cert"),
        ("::", TOKENS, True, False, ""),
        ("::", TOKENS, False, True, ""),
        ("::", Tokens(CONTROL), True, False, ""),
        ("::", Tokens("short"), True, False, "16 characters"),
        ("::", Tokens(CONTROL, "short"), True, False, "16 characters"),
        ("127.0.0.1", Tokens(CONTROL, CONTROL), False, False, "the same"),
        ("127.0.0.1", Tokens("two words"), False, False, "no HTTP header"),
        ("127.0.0.1", Tokens("hush\n"), False, False, "no HTTP header"),
    ],
)
def test_a_port_that_others_reach_needs_tls_and_a_token(
    where: str, tokens: Tokens, tls: bool, insecure: bool, says: str
) -> None:
    found = objection(where, tokens, tls=tls, insecure=insecure)
    assert says in found
    assert bool(says) == bool(found)
    assert "short" not in found


def test_an_address_is_held_up_by_its_own_wrong_tokens_and_all_by_those_of_all() -> None:
    attempts = Attempts(per_address=3, in_all=5)
    for _ in range(3):
        assert not attempts.pause("2001:db8:1:2::1")
        attempts.failed("2001:db8:1:2::1")
    assert 0 < attempts.pause("2001:db8:1:2:ffff::2") <= 60  # the same network
    assert not attempts.pause("2001:db8:1:3::1")
    for address in (FAR, "nonsense"):
        assert not attempts.pause(address)
        attempts.failed(address)
    assert 0 < attempts.pause("198.51.100.1") <= 60
