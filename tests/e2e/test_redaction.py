"""A real sidecar: what users sent as secrets is in no byte of the recording, and the audit says so."""

import json
from pathlib import Path

import httpx

from captures.audit import audit
from captures.batch import BatchWriter
from captures.reader import Capture
from captures.records import Record
from tests.support.processes import eventually, run
from tests.support.stack import Stack

SECRETS = ["hunter2-e2e", "tok-e2e-12345", "4000056655665556", "ann.e2e@shop.example", "sess-e2e-999", "EMP-424242"]


def lower(record: Record) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in record.headers}


def test_no_secret_reaches_the_disk(site: Stack, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("patterns:\n- {name: staff, regex: 'EMP-\\d{6}'}\n")
    password, token, card, mail, session, staff = SECRETS
    with site.sidecar(**{"redaction-rules": str(rules)}) as sidecar, httpx.Client(trust_env=False) as client:
        cart = f"{site.url}/cart?access_token={token}&mail={mail}"
        cookie = {"cookie": f"sid={session}", "referer": f"http://shop.example/?token={token}"}
        sent = [
            client.post(cart, json={"user": {"password": password}, "cards": [card], "mail": mail}, headers=cookie),
            client.post(cart, data={"password": password, "note": f"{staff} {card}", "csrf_token": session}),
            client.post(cart, files={"password": (None, password), "f": ("a.csv", f"{mail},{card}")}),
            client.post(cart, content=json.dumps({"pwd": password}).encode("utf-16"), headers=cookie),
        ]
        assert {answer.status_code for answer in sent} <= {200, 201, 400, 422, 500}
        eventually(lambda: site.state().accounting.written == len(sent))
        assert sidecar.stop() == 0
    records = site.records()
    assert len(records) == len(sent)
    everything = "".join(
        f"{record.path}{record.headers}{record.body!r}{record.body.replace(bytes(1), b'')!r}" for record in records
    )
    for secret in SECRETS:
        assert secret not in everything
    for record in records:
        assert record.body_size == len(record.body) == int(lower(record)[b"content-length"])
    # The session is joinable: the cookie of one request and the field of another hold the same pseudonym.
    name = lower(records[0])[b"cookie"].removeprefix(b"sid=")
    assert b"csrf_token=" + name in records[1].body
    assert site.seen_by_app(), "and the app got what the users sent"
    clean = run("captures", "audit", str(site.captures), "--redaction-rules", str(rules))
    assert clean.returncode == 0, clean.stdout
    # The same requests, unredacted, are found one by one.
    with BatchWriter(tmp_path / "open") as batch:
        for record in Capture(site.captures).records():
            batch.write(
                record._replace(path=f"/cart?access_token={token}", body=b'{"password":"hunter2-e2e"}', body_size=26)
            )
    found = run("captures", "audit", str(tmp_path / "open"), "--json")
    assert found.returncode == 1
    assert {"query access_token", "body $.password"} <= {group["place"] for group in json.loads(found.stdout)["groups"]}
    assert audit(Capture(site.captures).records()).findings == 0


def test_a_rule_file_that_is_wrong_is_told_before_anything_runs(site: Stack, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("fields: [a]\nnonsense: 1\n")
    ended = run("sidecar", *site.options(**{"redaction-rules": str(rules)}))
    assert ended.returncode == 104
    assert "line 2: nonsense" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
