"""Files that real mitmproxy and real nginx wrote, imported; and what was exported, loaded by real mitmproxy."""

import gzip
import http.client
import socket
import subprocess
import time
from pathlib import Path

import pytest

from captures.reader import Capture
from captures.records import Record
from tests.support.differential.proxies import find_nginx
from tests.support.processes import Process, free_port, reamp, run, shop
from tests.support.recording import record, write

pytestmark = pytest.mark.timeout(120)


def mitmdump() -> str:
    return reamp()[0].removesuffix("reamp") + "mitmdump"


def send(port: int) -> None:
    """Five requests of a user."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"User-Agent": 'Browser "7" ä'.encode().decode("latin-1"), "Authorization": "Bearer hunter2"}
    for number in range(3):
        client.request("GET", f"/item/{number}?q=a%20b", headers=headers)
        client.getresponse().read()
    client.request("POST", "/cart", b'{"a": 1}', {"Content-Type": "application/json", **headers})
    client.getresponse().read()
    client.request("HEAD", "/nowhere", headers=headers)
    client.getresponse().read()
    client.close()


WANTED = [
    *(("GET", f"/item/{number}?q=a%20b", b"", 200) for number in range(3)),
    ("POST", "/cart", b'{"a": 1}', 201),
]


def imported(tmp_path: Path, name: str, *options: str) -> list[Record]:
    output = tmp_path / f"{name}.capture"
    key = str(tmp_path / "redaction.key")
    done = run("captures", "import", str(tmp_path / name), "-o", str(output), "--redaction-key", key, *options)
    assert done.returncode == 0, done.stderr
    assert run("captures", "verify", str(output)).returncode == 0
    return list(Capture(output).records())


def check_times(found: list[Record], begun: float, ended: float) -> None:
    assert found == sorted(found, key=lambda one: one.arrival_ns)
    for one in found:
        assert begun - 0.01 <= one.arrival_ns / 1e9 <= one.arrival_ns / 1e9 + one.duration_ns / 1e9 <= ended + 0.01


def test_what_mitmproxy_recorded_is_imported_from_flows_and_from_its_own_har(tmp_path: Path) -> None:
    with shop(tmp_path) as (url, _):
        port = free_port()
        command = [mitmdump(), "-q", "--mode", f"reverse:{url}", "--listen-host", "127.0.0.1", "-p", str(port)]
        command += ["--set", "keep_host_header=true", "--set", f"confdir={tmp_path}/conf"]
        command += ["-w", f"{tmp_path}/flows", "--set", f"hardump={tmp_path}/shop.har"]
        begun = time.time()
        with Process(command, tmp_path / "mitmdump.out") as process:
            process.ready(port)
            send(port)
        ended = time.time()
    (tmp_path / "flows.gz").write_bytes(gzip.compress((tmp_path / "flows").read_bytes()))
    for name in ("flows", "flows.gz", "shop.har"):
        found = imported(tmp_path, name)
        assert [(one.method, one.path, one.body, one.status) for one in found][:4] == WANTED, name
        assert (found[4].method, found[4].status) == ("HEAD", 404)
        assert {one.authority for one in found} == {f"127.0.0.1:{port}"}
        check_times(found, begun, ended)
        for one in found:
            headers = {key.lower(): value for key, value in one.headers}
            assert headers[b"user-agent"] == 'Browser "7" ä'.encode()
            assert headers[b"authorization"].startswith(b"Bearer redacted-")
        assert found[0].response_size > 10
        assert all(one.ttfb_ns > 0 for one in found)


def test_mitmproxy_loads_what_was_exported(tmp_path: Path) -> None:
    some = [record(number / 10, f"/item/{number}?q=%20", body=b"\xff\0" * number) for number in range(20)]
    some.append(record(3, status=0, ttfb_ns=-1, response_size=0))
    folder = write(tmp_path / "recordings", some)
    key = ("--redaction-key", str(tmp_path / "redaction.key"))
    for name in ("mitmproxy", "har"):
        exported = tmp_path / f"exported.{name}"
        assert run("captures", "export", str(folder), "--to", name, "-o", str(exported)).returncode == 0
        command = [mitmdump(), "-n", "-r", str(exported), "-w", str(tmp_path / f"loaded.{name}"), "--flow-detail", "1"]
        done = subprocess.run(
            [*command, "--set", f"confdir={tmp_path}/conf"], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.count("GET http://shop.example/item/") == 20, done.stdout + done.stderr
        assert "rror" not in done.stderr
        # What mitmproxy loaded it writes again, and so it comes home.
        again = run("captures", "import", str(tmp_path / f"loaded.{name}"), "-o", str(tmp_path / name), *key)
        assert again.returncode == 0, again.stderr
        found = list(Capture(tmp_path / name).records())
        assert [(one.path, one.status) for one in found] == [(one.path, one.status) for one in some]
        if name == "mitmproxy":
            assert [one._replace(body=b"", body_size=0, headers=()) for one in found] == [
                one._replace(body=b"", body_size=0, headers=()) for one in Capture(folder).records()
            ]


NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format timed {timed};
    log_format json escape=json {json};
    access_log {folder}/combined.log combined;
    access_log {folder}/timed.log timed;
    access_log {folder}/json.log json;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {url};
        }}
    }}
}}
"""
TIMED = (
    "$msec $request_method $request_uri $server_protocol $status $body_bytes_sent $request_time $upstream_header_time "
    '$http_host "$http_user_agent" "$http_authorization" $content_length'
)
JSON = '{"ts":"$msec","req":"$request","code":$status,"took":$request_time,"host":"$http_host","ua":"$http_user_agent"}'
MAPPING = '{"time":"ts","request":"req","status":"code","duration":"took","host":"host","header User-Agent":"ua"}'


@pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed: there is no log of it to read")
def test_what_nginx_logged_is_imported(tmp_path: Path) -> None:
    with shop(tmp_path) as (url, _):
        port = free_port()
        config = NGINX.format(folder=tmp_path, port=port, url=url, timed=f"'{TIMED}'", json=f"'{JSON}'")
        (tmp_path / "nginx.conf").write_text(config)
        begun = time.time()
        command = [find_nginx() or "", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        with Process(command, tmp_path / "nginx.out") as process:
            process.ready(port)
            send(port)
            with socket.create_connection(("127.0.0.1", port), 10) as garbage:
                garbage.sendall(b"\x16\x03\x01\x02\r\n\r\n")
                garbage.recv(1000)
        ended = time.time()
    combined = imported(tmp_path, "combined.log", "--authority", "shop.example")
    timed = imported(tmp_path, "timed.log", "--log-format", TIMED)
    from_json = imported(tmp_path, "json.log", "--log-format", MAPPING)
    wanted = sorted([("HEAD", "/nowhere", 404), *((method, path, status) for method, path, _, status in WANTED)])
    for found in (combined, timed, from_json):
        # A millisecond is more than lies between them, so their order need not be theirs.
        assert sorted((one.method, one.path, one.status) for one in found) == wanted
        assert b'Browser "7" \xc3\xa4' in dict(found[0].headers).values()
    assert {one.authority for one in combined} == {"shop.example"}
    assert {one.authority for one in timed} == {one.authority for one in from_json} == {f"127.0.0.1:{port}"}
    assert dict(timed[0].headers)[b"Authorization"].startswith(b"Bearer redacted-")
    assert max(one.body_size for one in timed) == len(b'{"a": 1}')
    assert all(0 <= one.ttfb_ns <= one.duration_ns for one in timed)
    check_times(timed, begun, ended)
    check_times(from_json, begun, ended)
    check_times(combined, begun - 1, ended + 1)
    lines = (tmp_path / "combined.log").read_text().count("\n")
    assert len(combined) == lines - 1, "all but the garbage"
