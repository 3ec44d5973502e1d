"""Quantities as people write them, with exact values and one way to print them.

Each class is a number (so arithmetic needs no unwrapping) that parses from text, prints as that text, and works as a
pydantic field. A bare number is refused everywhere: ``--ceiling 25`` could mean 25 % or 2500 %, and the wrong guess
is an outage.
"""

import math
import re
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MILLION = 1_000_000


class UnitError(ValueError):
    """The text is not such a quantity. The message says how to write one."""


class Written:
    """A pydantic field that is written as text. Subclasses say how to read it, and print what reads back."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one. Raises UnitError."""
        raise NotImplementedError  # each subclass has its own notation

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )

    @classmethod
    def _validate(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise cls._error(value)

    @classmethod
    def _error(cls, value: Any) -> UnitError:
        """Say that this is none, and how to write one."""
        raise NotImplementedError


class _Quantity(Written):
    """Its docstring names it up to the colon."""

    __slots__ = ()
    example: ClassVar[str]

    @classmethod
    def _error(cls, value: Any) -> UnitError:
        return UnitError(f"{str(value)!r} is not {cls.__doc__.split(':')[0].lower()}: write it like {cls.example}")  # type: ignore[union-attr]


def _millionths(number: str) -> int:
    """Parse a non-negative decimal exactly, in millionths. More than six decimals are cut off (the safe side)."""
    whole, _, fraction = number.partition(".")
    return int(whole or "0") * MILLION + int(fraction[:6].ljust(6, "0") or "0")


def _decimal(millionths: int) -> str:
    return f"{millionths // MILLION}.{millionths % MILLION:06d}".rstrip("0").rstrip(".")


_DECIMAL = r"([0-9]{1,18}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})"


class Share(_Quantity, int):
    """A share: parts per million, so that the credit rule is exact integer arithmetic. ``25%`` is 250_000."""

    __slots__ = ()
    example = "25%"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``25%``. Raises UnitError."""
        match = re.fullmatch(_DECIMAL + r"\s*%", text.strip())
        if not match:
            raise cls._error(text)
        return cls(_millionths(match[1]) // 100)

    def __str__(self) -> str:
        return f"{_decimal(int(self) * 100)}%"

    __repr__ = __str__


class Factor(_Quantity, int):
    """A factor: parts per million, exact like `Share`. ``1.25x`` is 1_250_000."""

    __slots__ = ()
    example = "1.25x"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1.25x``. Raises UnitError."""
        match = re.fullmatch(_DECIMAL + r"\s*[x×]", text.strip())  # noqa: RUF001 - people paste the real sign
        if not match:
            raise cls._error(text)
        return cls(_millionths(match[1]))

    def __str__(self) -> str:
        return f"{_decimal(int(self))}x"

    __repr__ = __str__


_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


_CENTURY = 36_525 * 86_400.0


class Duration(_Quantity, float):
    """A duration: seconds, at most a century of them, so that nanoseconds fit into 64 bits. ``1h30m``, ``250ms``."""

    __slots__ = ()
    example = "10s, 250ms or 1h30m"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1h30m``. Raises UnitError."""
        compact = text.strip().replace(" ", "")
        if not re.fullmatch(rf"({_DECIMAL}(ns|us|ms|s|m|h|d))+", compact):
            raise cls._error(text)
        parts = re.findall(_DECIMAL + r"(ns|us|ms|s|m|h|d)", compact)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if seconds > _CENTURY:
            raise UnitError(f"{text!r} is longer than a century: nothing here lasts that long")
        return cls(seconds)

    def __str__(self) -> str:
        seconds = float(self)
        if seconds < 60:
            scale, unit = (1, "s") if seconds >= 1 or not seconds else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
            return f"{round(seconds * scale, 3):g}{unit}"
        text = ""
        for unit in ("d", "h", "m"):
            count, seconds = divmod(seconds, _SECONDS[unit])
            text += f"{int(count)}{unit}" if count else ""
        return text + (f"{round(seconds, 3):g}s" if seconds else "")

    __repr__ = __str__


class Rate(_Quantity, float):
    """A rate: events per second, always global and never per worker. ``100/s``, ``6000/m``."""

    __slots__ = ()
    example = "100/s"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``100/s``. Raises UnitError."""
        match = re.fullmatch(_DECIMAL + r"\s*/\s*(s|m|h)", text.strip())
        if not match:
            raise cls._error(text)
        return cls(float(match[1]) / _SECONDS[match[2]])

    def __str__(self) -> str:
        # Never with an exponent, which would not read back; small ones keep six digits that count.
        rate = float(self)
        places = 3 if rate >= 1 or not rate else min(15, 5 - math.floor(math.log10(rate)))
        return f"{rate:.{places}f}".rstrip("0").rstrip(".") + "/s"

    __repr__ = __str__


_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


class Size(_Quantity, int):
    """A size: bytes. ``64KiB``, ``10MB``, ``0B``."""

    __slots__ = ()
    example = "64KiB or 10MB"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``64KiB``. Raises UnitError."""
        match = re.fullmatch(_DECIMAL + r"\s*([kmgt]i?b|b)", text.strip().lower())
        if not match:
            raise cls._error(text)
        return cls(_millionths(match[1]) * _BYTES[match[2]] // MILLION)

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if self >= (step := _BYTES[unit.lower()]):
                thousandths, rest = divmod(int(self) * 1000, step)
                if rest:
                    break
                whole, part = divmod(thousandths, 1000)
                return f"{whole}.{part:03}".rstrip("0").rstrip(".") + unit
        return f"{int(self)}B"

    __repr__ = __str__


def parse_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, ``[::1]:PORT`` or ``:PORT`` (all addresses). Raises UnitError."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise UnitError(f"{text!r} is not an address: write it like 127.0.0.1:8901")
    return host.strip("[]"), int(port)
