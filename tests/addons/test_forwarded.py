"""What the sidecar adds to a request and its answer when it is told to."""

from collections.abc import Iterator

import pytest
from mitmproxy import exceptions, http
from mitmproxy.test import taddons, tflow

from addons.chain import chain
from addons.forwarded import Forwarded

Fields = list[tuple[str, str]]


@pytest.fixture
def context() -> Iterator[tuple[Forwarded, taddons.context]]:
    addon = Forwarded()
    with taddons.context(addon) as made:
        yield addon, made


def passed(addon: Forwarded, *fields: tuple[str, str], version: str = "HTTP/1.1", tls: bool = False) -> http.HTTPFlow:
    """A flow that has come by the add-on, both ways."""
    flow = tflow.tflow(resp=True)
    flow.client_conn.peername = ("192.0.2.7", 4711)
    flow.client_conn.tls = tls
    flow.request.http_version = version
    flow.request.headers = http.Headers([(name.encode(), value.encode()) for name, value in fields])
    assert flow.response
    flow.response.headers = http.Headers(via="1.1 app")
    addon.requestheaders(flow)
    addon.responseheaders(flow)
    return flow


def fields(flow: http.HTTPFlow) -> Fields:
    return list(flow.request.headers.items(multi=True))


def test_nothing_is_added_unless_it_is_told_to(context: tuple[Forwarded, taddons.context]) -> None:
    flow = passed(context[0], ("Host", "shop"))
    assert fields(flow) == [("Host", "shop")]
    assert flow.response
    assert flow.response.headers["via"] == "1.1 app"


@pytest.mark.parametrize(
    ("came", "tls", "went"),
    [
        pytest.param(
            [("Host", "shop:80")],
            False,
            [
                ("Host", "shop:80"),
                ("X-Forwarded-For", "192.0.2.7"),
                ("X-Forwarded-Proto", "http"),
                ("X-Forwarded-Host", "shop:80"),
            ],
            id="first on the way",
        ),
        pytest.param(
            [("Host", "a"), ("x-forwarded-for", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2"), ("x-forwarded-proto", "x")],
            True,
            [
                ("Host", "a"),
                ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 192.0.2.7"),
                ("x-forwarded-proto", "x"),
                ("X-Forwarded-Host", "a"),
            ],
            id="behind others: the list grows, what they say stays",
        ),
        pytest.param(
            [("x-forwarded-host", "b"), ("x-forwarded-for", "")],
            True,
            [("x-forwarded-host", "b"), ("x-forwarded-for", "192.0.2.7"), ("X-Forwarded-Proto", "https")],
            id="without a host, behind an empty list",
        ),
    ],
)
def test_the_app_is_told_who_asked(
    context: tuple[Forwarded, taddons.context], came: Fields, tls: bool, went: Fields
) -> None:
    addon, made = context
    made.options.reamp_forwarded = True
    assert fields(passed(addon, *came, tls=tls)) == went


@pytest.mark.parametrize(
    ("version", "told"),
    [("HTTP/1.1", "1.1 edge"), ("HTTP/1.0", "1.0 edge"), ("HTTP/2.0", "2 edge"), ("HTTP/3", "3 edge")],
)
def test_the_sidecar_names_itself_both_ways(
    context: tuple[Forwarded, taddons.context], version: str, told: str
) -> None:
    addon, made = context
    made.options.reamp_via = "edge"
    flow = passed(addon, ("via", "1.1 cdn"), version=version)
    assert fields(flow) == [("via", f"1.1 cdn, {told}")]
    assert flow.response
    assert flow.response.headers["via"] == "1.1 app, 1.1 edge"


@pytest.mark.parametrize("name", ["two words", "a\r\nb", "a,b", "(comment)", "é", "edge:80"])
def test_a_name_that_is_none_is_refused(context: tuple[Forwarded, taddons.context], name: str) -> None:
    with pytest.raises(exceptions.OptionsError, match="reamp_via"):
        context[1].options.update(reamp_via=name)


def test_it_comes_after_what_records() -> None:
    made = chain()
    addons = made.addons()
    assert addons.index(made.capture) < addons.index(made.forwarded)
