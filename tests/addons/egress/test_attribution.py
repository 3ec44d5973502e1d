"""Whose call it is: synthetic only if nothing speaks for a real user."""

from hypothesis import given
from hypothesis import strategies as st

from addons.egress.attribution import JUDGEMENTS, attribute
from addons.traces import Found, Run

A, B = Run("v1.k.a.1.p.s", "a"), Run("v1.k.b.1.p.s", "b")


def test_an_own_tag_decides_before_all_traces() -> None:
    assert attribute(A, [B, Found.REAL]) == ("synthetic", "tag", A)


def test_a_trace_says_whose_call_it_is() -> None:
    assert attribute(None, [A]) == ("synthetic", "trace", A)
    assert attribute(None, [Found.UNKNOWN, A]) == ("synthetic", "trace", A)
    assert attribute(None, [Found.REAL]) == ("real", "trace", None)
    assert attribute(None, [Found.CONTESTED]) == ("real", "contested", None)
    assert attribute(None, [Found.UNKNOWN]) == ("unattributed", "unknown", None)
    assert attribute(None, []) == ("unattributed", "nothing", None)


def test_what_is_called_for_a_dark_copy_is_neither_a_users_nor_synthetic() -> None:
    copies = Run.of_copies("next")
    assert attribute(copies, [Found.REAL]) == ("dark", "tag", copies)
    assert attribute(None, [copies]) == ("dark", "trace", copies)
    assert attribute(None, [copies, Found.REAL]) == ("real", "trace", None)
    assert not A.dark


@given(st.lists(st.sampled_from([A, B, *Found])))
def test_at_any_doubt_it_is_no_synthetic_call(traces: list[Run | Found]) -> None:
    found = attribute(None, traces)
    assert (found.kind, found.by) in JUDGEMENTS
    synthetic = any(isinstance(one, Run) for one in traces) and not {Found.REAL, Found.CONTESTED} & set(traces)
    assert (found.kind == "synthetic") == synthetic
    assert (found.run in traces) == synthetic
