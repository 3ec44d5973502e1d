"""Quantities: exact values, one notation, and a clear word for whatever is not one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rules.units import Duration, Factor, Rate, Share, Size, UnitError, parse_address


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        (Share, "25%", 250_000),
        (Share, "0.5 %", 5_000),
        (Share, "100%", 1_000_000),
        (Share, "0%", 0),
        (Factor, "1.25x", 1_250_000),
        (Factor, "0.01x", 10_000),
        (Factor, "1000x", 1_000_000_000),
        (Duration, "10s", 10.0),
        (Duration, "250ms", 0.25),
        (Duration, "1h30m", 5400.0),
        (Duration, "2d", 172_800.0),
        (Rate, "100/s", 100.0),
        (Rate, "6000/m", 100.0),
        (Size, "64KiB", 65_536),
        (Size, "10MB", 10_000_000),
        (Size, "0B", 0),
    ],
)
def test_reads_what_people_write(quantity: type[Share], text: str, value: float) -> None:
    assert quantity.parse(text) == value


@pytest.mark.parametrize("quantity", [Share, Factor, Duration, Rate, Size])
@pytest.mark.parametrize(
    "text", ["", "25", "-1%", "x", "1,5x", "ten seconds", "1e9x", "٣%", "nan/s", "1 s 2", "%", "25%%"]
)
def test_refuses_everything_else_and_says_how_to_write_it(quantity: type[Share], text: str) -> None:
    with pytest.raises(UnitError, match="write it like"):
        quantity.parse(text)


@given(st.integers(0, 10**9))
def test_shares_and_factors_print_as_what_reads_back_to_the_same(millionths: int) -> None:
    assert Factor.parse(str(Factor(millionths))) == millionths
    assert Share.parse(str(Share(millionths))) == millionths


@given(st.integers(0, 10**15))
@example(1029248)  # 1005.125 KiB: seven digits
def test_sizes_print_as_what_reads_back_to_the_same(size: int) -> None:
    assert Size.parse(str(Size(size))) == size


@given(st.floats(0.000001, 10**7))
def test_durations_print_as_what_reads_back_to_about_the_same(seconds: float) -> None:
    assert Duration.parse(str(Duration(seconds))) == pytest.approx(seconds, rel=1e-3, abs=1e-6)


class Settings(BaseModel):
    ceiling: Share = Share.parse("25%")


def test_a_bare_number_is_never_guessed_at() -> None:
    with pytest.raises(ValidationError, match="write it like 25%"):
        Settings.model_validate({"ceiling": 25})


def test_models_carry_quantities_as_text() -> None:
    assert Settings.model_validate_json('{"ceiling": "12.5%"}').model_dump_json() == '{"ceiling":"12.5%"}'


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:8901", ("::1", 8901)), (":8080", ("", 8080))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "host:http", "host:70000", "host:-1"])
def test_wrong_addresses_are_told(text: str) -> None:
    with pytest.raises(UnitError, match="write it like"):
        parse_address(text)


@given(st.floats(1e-4, 1e9))
def test_rates_print_as_what_reads_back_to_about_the_same(rate: float) -> None:
    assert Rate.parse(str(Rate(rate))) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(
    ("rate", "text"), [("200/s", "200/s"), ("1234567.5/s", "1234567.5/s"), ("200/h", "0.0555556/s")]
)
def test_rates_print_without_an_exponent_and_never_as_nothing(rate: str, text: str) -> None:
    assert str(Rate.parse(rate)) == text


@pytest.mark.parametrize("text", ["1000000h", "36526d", "999999999999999999d"])
def test_a_duration_that_no_clock_holds_is_refused(text: str) -> None:
    with pytest.raises(UnitError, match="longer than a century"):
        Duration.parse(text)
