"""The ways to pull the lever, at a control port in this process: what each leaves behind, and who may."""

import asyncio
import getpass
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from addons.books import Books
from addons.controlport.access import Tokens
from addons.controlport.attempts import PER_ADDRESS
from addons.controlport.certificate import Certificate
from addons.controlport.port import ControlPort, Facts
from addons.lever.latch import LatchingLever
from addons.lever.leverfile import LeverFile
from addons.lever.stopsignal import Pull, announced, obeyed
from loadtag import Verifier
from rules.exits import UserError
from tests.captures.making import eventually
from tests.support.authority import Authority
from tests.support.origin import certificate

TOKENS = Tokens("look-and-stop-0123456789", "reset-too-0123456789")


def port_with(file: Path | None = None, tokens: Tokens | None = None) -> ControlPort:
    books = Books.alone()
    facts = Facts(tokens=tokens or Tokens())
    return ControlPort(books, LatchingLever(file, books.shared), Verifier([], ""), facts)


def visitor(port: ControlPort, client: str = "127.0.0.1", token: str = "") -> httpx.AsyncClient:
    host = "127.0.0.1" if client == "127.0.0.1" else "sidecar.example"
    transport = httpx.ASGITransport(port.app(), client=(client, 1))
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8901", headers=headers)


def order(engaged: bool) -> dict[str, object]:
    return {"engaged": engaged, "reason": "because", "by": "ada"}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[ControlPort]:
    made = port_with(tmp_path / "lever.json")
    yield made
    await made.close()


async def test_a_pull_holds_at_once_and_is_known_after_a_restart(tmp_path: Path) -> None:
    port = port_with(tmp_path / "lever.json")
    written = port.pull("users suffer", "rule p(95)<500ms")
    assert port.books.shared.engaged
    assert port.books.shared.reason == "users suffer"
    await written
    assert port.lever.state.persisted
    again = LatchingLever(tmp_path / "lever.json").state
    assert (again.engaged, again.reason, again.by) == (True, "users suffer", "rule p(95)<500ms")
    assert again.at == port.lever.state.at
    await port.reset("all well", "ada")
    assert not LatchingLever(tmp_path / "lever.json").engaged


async def test_a_reset_undoes_no_pull_that_came_after_it_was_asked_for(
    port: ControlPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    await port.pull("users suffer", "ada")

    async def held() -> None:
        await port.pull("worse still", "bob")

    async with visitor(port) as client:
        with monkeypatch.context() as while_it_is_asked:
            while_it_is_asked.setattr(port, "_held", held)
            refused = await client.post("/v1/lever", json=order(engaged=False))
        assert refused.status_code == 409
        assert "bob pulled it meanwhile (worse still)" in refused.json()["detail"]
        assert port.lever.state.reason == "worse still"
        assert (await client.post("/v1/lever", json=order(engaged=False))).status_code == 200


async def test_a_reset_may_be_bound_to_the_pull_that_its_sender_knows(port: ControlPort) -> None:
    async with visitor(port) as client:
        for seen in (0.0, 12.5):  # nothing is pulled: there is nothing to undo
            assert (await client.post("/v1/lever", json=order(engaged=False) | {"seen": seen})).status_code == 200
        await port.pull("users suffer", "ada")
        known = port.lever.state.at
        for seen in (0.0, 12.5):
            assert (await client.post("/v1/lever", json=order(engaged=False) | {"seen": seen})).status_code == 409
            assert port.lever.engaged
        assert (await client.post("/v1/lever", json=order(engaged=False) | {"seen": known})).status_code == 200
        assert not port.lever.engaged


async def test_a_pull_may_be_bound_too_and_then_takes_nobody_else_s_place(port: ControlPort) -> None:
    async with visitor(port) as client:
        await port.reset("all is well", "ada")
        free = port.lever.state.at
        assert (await client.post("/v1/lever", json=order(engaged=True) | {"seen": free})).status_code == 200
        ours = port.lever.state.at
        await port.pull("users suffer", "bob")
        for seen in (0.0, free, ours):
            refused = await client.post("/v1/lever", json=order(engaged=True) | {"seen": seen})
            assert refused.status_code == 409
            assert "bob pulled it meanwhile (users suffer), so it stays pulled" in refused.json()["detail"]
        assert (port.lever.engaged, port.lever.state.reason) == (True, "users suffer")
        assert (await client.post("/v1/lever", json=order(engaged=True))).status_code == 200  # a person's always does
        assert port.lever.state.reason == "because"


async def test_every_move_is_one_line_of_the_log_whatever_somebody_wrote(caplog: pytest.LogCaptureFixture) -> None:
    port = port_with()
    await port.pull("too\nLever reset by root: \x1b[2J slow", "ada\r\n")
    await port.reset("fine", "bob")
    lines = [entry.getMessage() for entry in caplog.records if entry.getMessage().startswith("Lever")]
    assert lines == ["Lever pulled by ada: too Lever reset by root: [2J slow", "Lever reset by bob: fine"]


# --- the file


async def test_a_file_pulls_latches_and_has_to_go_before_a_reset(port: ControlPort, tmp_path: Path) -> None:
    file = tmp_path / "stop"
    await port.watch(file)
    assert not port.books.shared.engaged
    file.touch()
    await eventually(lambda: port.lever.engaged)
    assert port.lever.state.reason == f"the file {file} is there"
    assert port.lever.state.by == getpass.getuser()
    assert time.time() - (port.lever.state.at or 0) < 60
    async with visitor(port) as client:
        refused = await client.post("/v1/lever", json=order(engaged=False))
        assert refused.status_code == 409
        assert str(file) in refused.json()["detail"]
        assert port.lever.engaged
        file.unlink()
        assert port.lever.engaged
        assert (await client.post("/v1/lever", json=order(engaged=False))).status_code == 200
    assert not port.books.shared.engaged
    file.touch()
    await eventually(lambda: port.lever.engaged)


async def test_a_file_that_is_there_at_the_start_pulls_before_anybody_is_served(
    port: ControlPort, tmp_path: Path
) -> None:
    (tmp_path / "stop").mkdir()  # whatever it is
    await port.watch(tmp_path / "stop")
    assert port.lever.engaged


async def test_a_reason_may_stand_in_the_file(port: ControlPort, tmp_path: Path) -> None:
    await port.watch(tmp_path / "stop")
    (tmp_path / "stop").write_text("  checkout is slow\n" + "x" * 5000)
    await eventually(lambda: port.lever.state.reason.startswith("checkout is slow xxx"))
    assert len(port.lever.state.reason) <= 500


async def test_who_pulled_before_the_file_came_stays_known(port: ControlPort, tmp_path: Path) -> None:
    await port.watch(tmp_path / "stop")
    await port.pull("users suffer", "ada")
    (tmp_path / "stop").touch()
    assert port._file is not None
    assert await port._file.there()
    assert port.lever.state.by == "ada"


async def test_a_file_that_cannot_be_looked_for_counts_as_there(port: ControlPort, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    await port.watch(loop / "stop")
    assert port.lever.engaged
    assert "can't be told" in port.lever.state.reason
    async with visitor(port) as client:
        assert (await client.post("/v1/lever", json=order(engaged=False))).status_code == 409


async def test_a_file_system_that_hangs_pulls_and_holds_nobody_up(
    port: ControlPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("addons.lever.leverfile.HANGS", 0.3)
    monkeypatch.setattr("addons.lever.leverfile.ANSWER", 0.2)
    await port.watch(tmp_path / "stop")
    assert not port.books.shared.engaged
    hanging = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_file: LeverFile) -> tuple[bool, str, str]:
        asyncio.run_coroutine_threadsafe(hanging.wait(), loop).result()
        return False, "", ""

    monkeypatch.setattr(LeverFile, "_look", hang)
    await eventually(lambda: port.lever.engaged)
    assert "hangs" in port.lever.state.reason
    async with visitor(port) as client:
        assert (await client.post("/v1/lever", json=order(engaged=False))).status_code == 409
        hanging.set()
        await asyncio.sleep(0)
        assert (await client.post("/v1/lever", json=order(engaged=False))).status_code == 200
    again = port_with()
    monkeypatch.setattr(LeverFile, "_look", hang)
    hanging.clear()
    await again.watch(tmp_path / "stop")  # the first look already
    assert again.lever.engaged
    hanging.set()
    await again.close()


async def test_the_folder_of_the_file_is_made_so_that_whoever_is_in_a_hurry_need_not(tmp_path: Path) -> None:
    port, file = port_with(), tmp_path / "run" / "reamp" / "stop"
    await port.watch(file)
    assert not port.lever.engaged
    file.touch()
    await eventually(lambda: port.lever.engaged)
    await port.close()


# --- the signal


@pytest.mark.parametrize("how", [obeyed, announced])
async def test_a_signal_pulls(how: Callable[[Pull], AbstractContextManager[None]]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    told: list[tuple[str, str]] = []
    with how(lambda reason, by: told.append((reason, by))):
        os.kill(os.getpid(), signal.SIGUSR1)
        await eventually(lambda: bool(told))
    ((reason, by),) = told
    assert reason == "signal SIGUSR1"
    assert by.startswith(getpass.getuser())
    assert signal.getsignal(signal.SIGUSR1) == before


# --- from elsewhere


async def test_from_elsewhere_a_look_needs_a_token_and_a_reset_the_admin_token() -> None:
    port = port_with(tokens=TOKENS)
    far = "203.0.113.9"
    async with visitor(port, far) as nobody, visitor(port, far, TOKENS.control) as operator:
        assert (await nobody.get("/healthz")).status_code == 200
        for path in ("/v1/state", "/metrics", "/v1/lever"):
            refused = await nobody.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert (await operator.get(path)).status_code == 200
        assert (await nobody.post("/v1/lever", json=order(engaged=True))).status_code == 401
        assert not port.books.shared.engaged
        assert (await operator.post("/v1/lever", json=order(engaged=True))).status_code == 200
        assert port.lever.engaged
        assert (await operator.post("/v1/lever", json=order(engaged=False))).status_code == 403
        assert port.lever.engaged
    async with visitor(port, far, TOKENS.admin) as owner:
        assert (await owner.get("/v1/state")).status_code == 200
        assert (await owner.post("/v1/lever", json=order(engaged=False))).status_code == 200
    assert not port.books.shared.engaged


async def test_wrong_tokens_are_told_held_up_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    port = port_with(tokens=TOKENS)
    far = "203.0.113.9"
    async with visitor(port, far, "a-wrong-guess") as guesser:
        for _ in range(PER_ADDRESS):
            assert (await guesser.get("/v1/state")).status_code == 401
        late = await guesser.get("/v1/state")
        assert late.status_code == 429
        assert 0 < int(late.headers["retry-after"]) <= 60
        assert (await guesser.post("/v1/lever", json=order(engaged=True))).status_code == 429
    async with visitor(port, far, TOKENS.admin) as owner:
        assert (await owner.get("/v1/state")).status_code == 429
    async with visitor(port, far, TOKENS.control) as operator:
        assert (await operator.get("/v1/state")).status_code == 429
        assert (await operator.post("/v1/lever", json=order(engaged=True))).status_code == 200
    assert port.lever.engaged
    async with visitor(port) as near, visitor(port, "198.51.100.7", TOKENS.admin) as other:
        assert (await near.post("/v1/lever", json=order(engaged=False))).status_code == 200
        assert (await other.get("/v1/state")).status_code == 200
    assert caplog.text.count("A wrong token from 203.0.113.9") == PER_ADDRESS
    for secret in ("a-wrong-guess", TOKENS.control, TOKENS.admin):
        assert secret not in caplog.text


# --- over real connections


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ControlPort]:
    made = port_with(tmp_path / "lever.json", TOKENS)
    await made.start("127.0.0.1:0")
    yield made
    await made.close()


async def spoken(port: ControlPort, said: bytes) -> bytes:
    """Say something, and give all of the answer until the port closes the connection."""
    host, _, number = port.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(number))
    writer.write(said)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_who_says_nothing_or_too_much_is_not_waited_for(
    served: ControlPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    assert b"200 OK" in await spoken(served, head + b"connection: close\r\n\r\n")
    assert (await spoken(served, head + b"x: " + b"y" * 70_000 + b"\r\n\r\n")).startswith(b"HTTP/1.1 400")
    assert (await spoken(served, b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400")
    monkeypatch.setattr("addons.controlport.visitors.FIRST_WORD", 0.1)
    assert await spoken(served, b"") == b""
    assert await spoken(served, head) == b""
    again = await spoken(served, head + b"\r\n" + head)  # neither is a second request that never ends
    assert again.count(b"200 OK") == 1
    monkeypatch.setattr("addons.controlport.port.PATIENCE", 0.1)
    cut = b"POST /v1/lever HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    assert b"400 Bad Request" in await spoken(served, cut + b'content-length: 100\r\n\r\n{"engaged": true')
    assert not served.lever.engaged


async def test_a_handshake_that_never_comes_holds_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("addons.controlport.port.HANDSHAKE", 0.2)
    _, _ = certificate(tmp_path, "127.0.0.1")
    (tmp_path / "server.pem").chmod(0o600)
    port = port_with(tmp_path / "lever.json", TOKENS)
    await port.start("127.0.0.1:0", Certificate(tmp_path / "server.pem", None))
    try:
        assert await spoken(port, b"") == b""
    finally:
        await port.close()


async def test_who_takes_nothing_any_more_keeps_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addons.controlport.port.UNREAD", 0.3)
    monkeypatch.setattr("addons.watchman.EXPERIENCE_INTERVAL", 0.001)
    port = port_with(tmp_path / "lever.json", TOKENS)
    await port.start("127.0.0.1:0")
    host, _, number = port.address.rpartition(":")
    with socket.socket() as hanging:
        hanging.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        hanging.setblocking(False)
        await asyncio.get_running_loop().sock_connect(hanging, (host, int(number)))
        hanging.sendall(b"GET /v1/experience HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        await eventually(lambda: port.watchman.listeners == 1)
        await eventually(lambda: port.watchman.listeners == 0)
    await port.close()


async def test_however_many_come_from_elsewhere_this_machine_can_stop(
    served: ControlPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("addons.controlport.visitors.MAX_CONNECTIONS", 4)
    monkeypatch.setattr("addons.controlport.visitors.RESERVED", 4)
    near = iter([False] * 6 + [True] * 10)
    monkeypatch.setattr("addons.controlport.visitors.is_loopback", lambda _address: next(near))
    host, _, number = served.address.rpartition(":")
    crowd = [await asyncio.open_connection(host, int(number)) for _ in range(6)]
    async with asyncio.timeout(10):  # the two that are too many are closed, the others may wait
        assert [await crowd[at][0].read() for at in (4, 5)] == [b"", b""]
    async with httpx.AsyncClient(base_url=f"http://{served.address}", trust_env=False) as client:
        assert (await client.post("/v1/lever", json=order(engaged=True))).status_code == 200
    for _, writer in crowd:
        writer.close()


async def test_the_servers_own_log_tells_no_token_even_at_its_most_talkative(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    authority = Authority(tmp_path)
    file = authority.issue("control", "127.0.0.1")
    file.chmod(0o600)
    port = port_with(tokens=TOKENS)
    await port.start("127.0.0.1:0", Certificate(file, None))
    async with httpx.AsyncClient(
        base_url=f"https://{port.address}", verify=authority.trusting(), trust_env=False, headers={"host": "elsewhere"}
    ) as client:
        for token in (TOKENS.control, TOKENS.admin, "a-wrong-one"):
            headers = {"authorization": f"Bearer {token}"}
            await client.get("/v1/state", headers=headers)
            await client.post("/v1/lever", json=order(engaged=True), headers=headers)
            assert token not in caplog.text
    await port.close()
    assert "A wrong token from 127.0.0.1" in caplog.text
    key = file.read_text().splitlines()[1]
    assert key not in caplog.text


async def test_a_certificate_is_exchanged_whole_or_not_at_all(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    file = authority.issue("control", "127.0.0.1")
    file.chmod(0o644)
    with pytest.raises(UserError, match="open to everybody"):
        Certificate(file, None)
    file.chmod(0o640)  # as Kubernetes gives a secret to a pod's group
    certificate = Certificate(file, None)
    other = authority.issue("other", "127.0.0.1")
    other.chmod(0o600)
    with pytest.raises(UserError, match="does not belong"):
        Certificate(file, other)
    authority.trust.chmod(0o600)
    with pytest.raises(UserError, match="can be read from it"):
        certificate.reload(authority.trust, None)
    port = port_with()
    await port.start("127.0.0.1:0", certificate)

    async def shown() -> bytes | None:
        _, writer = await asyncio.open_connection(*port.address.split(":"), ssl=authority.trusting())
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return found

    first = await shown()
    certificate.reload(other, None)
    assert await shown() not in (None, first)
    await port.close()
