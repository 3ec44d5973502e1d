"""The audit: finds what was planted and says where, and leaves pseudonyms alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from captures.audit import MOST_GROUPS, audit, masked
from captures.batch import BatchWriter
from captures.records import Record
from captures.redaction import Redactor
from captures.redaction.rules import parse_rules
from reamp.commands.captures import app
from tests.benchmarks.traffic import records
from tests.captures.making import KEY, NOON, record

LOT = "Zk3T9xQ7mB2vR8nL5wY1pD6s"

PLANTED = [
    record(
        NOON,
        method="POST",
        path="/login?lang=en",
        headers=((b"Content-Type", b"application/json"),),
        body=b'{"user":{"name":"Ann","password":"hunter2hunter2"},"cards":[{"number":"4000056655665556"}]}',
        body_size=91,
    ),
    record(NOON + 1, path="/items/7?access_token=tok-tok-tok-1", headers=((b"Cookie", b"a=1; sid=abcdefabcdef"),)),
    record(
        NOON + 2, path=f"/invite/{LOT}", headers=((b"X-Api-Key", b"key-key-key-1"), (b"X-Note", b"ann@shop.example"))
    ),
    record(NOON + 3, path=f"/hook?state={LOT}&request_id={LOT}"),
]
PLACES = {
    ("/login", "body $.user.password", "name"),
    ("/login", "body $.cards[].number", "pattern"),
    ("/items/{id}", "query access_token", "name"),
    ("*", "cookie a", "name"),
    ("*", "cookie sid", "name"),
    ("/invite/{secret}", "path", "random"),
    ("*", "header x-api-key", "name"),
    ("*", "header x-note", "pattern"),
    ("/hook", "query state", "random"),
}


def written(folder: Path, made: list[Record]) -> Path:
    with BatchWriter(folder) as batch:
        for one in made:
            batch.write(one)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_what_was_planted_is_found_where_it_stands(tmp_path: Path) -> None:
    result = run(written(tmp_path / "open", PLANTED), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["records"] == told["records_with_findings"] == 4
    assert {(group["path"], group["place"], group["kind"]) for group in told["groups"]} == PLACES
    assert [group["first_record"] for group in told["groups"] if group["place"] == "query access_token"] == [2]
    table = run(tmp_path / "open")
    assert table.exit_code == 1
    assert "9 findings in 4 of 4 records" in table.stdout
    assert "body $.user.password" in table.stdout
    for secret in ("hunter2hunter2", "4000056655665556", "tok-tok-tok-1", "abcdefabcdef", LOT, "key-key", "ann@shop"):
        assert secret not in result.stdout + table.stdout


def test_nothing_is_found_in_what_was_redacted(tmp_path: Path) -> None:
    redactor = Redactor(KEY)
    clean = [redactor.record(one) for one in PLANTED[:2]]
    result = run(written(tmp_path / "clean", clean))
    assert result.exit_code == 0
    assert "nothing found in 2 records" in result.stdout


def test_ordinary_traffic_makes_no_noise() -> None:
    made = list(records(3000, rate=1000))
    assert {group.place for group in audit(made).groups} == {
        f"cookie {name}" for name in ["session", "_ga", "consent", "cart"]
    }
    redactor = Redactor(KEY)
    assert audit(map(redactor.record, made)).findings == 0


def test_a_rule_file_counts_for_the_audit_too(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("fields: [user-name]\nkeep: {cookies: [a], values: ['4000056655665556']}\n")
    result = run(written(tmp_path / "open", PLANTED), "--redaction-rules", rules, "--json")
    places = {group["place"] for group in json.loads(result.stdout)["groups"]}
    assert "cookie a" not in places
    assert "body $.cards[].number" not in places
    assert "cookie sid" in places


def test_the_rules_print_as_a_file_that_does_the_same() -> None:
    shown = run("--show-rules")
    assert shown.exit_code == 0
    again = parse_rules(shown.stdout.encode(), "shown")
    assert again.extends == "nothing"
    one, two = Redactor(KEY, again), Redactor(KEY)
    for given in PLANTED:
        assert one.record(given) == two.record(given)


def test_a_capture_of_nothing_but_secrets_does_not_fill_the_memory() -> None:
    report = audit(record(NOON + n, path=f"/?token{n}=x{n}") for n in range(MOST_GROUPS + 500))
    assert len(report.groups) == MOST_GROUPS
    assert report.not_listed == 500


@pytest.mark.parametrize("secret", [b"x", b"1234", b"hunter2", b"a" * 40, "\u00e4\u00f6\x1b".encode()])
def test_a_sample_is_never_the_whole(secret: bytes) -> None:
    shown = masked(secret)
    assert secret.decode("utf-8") not in shown
    assert shown.isprintable()
