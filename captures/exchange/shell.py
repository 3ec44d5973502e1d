"""Shell commands cut into words, as a POSIX shell and bash's ``$'...'`` have it. Pure; nothing is expanded or run.

`shlex` does not know ``$'...'``, in which browsers put every line end and every apostrophe.
"""

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from captures.exchange.notes import Notes
from captures.exchange.streams import MAX_LINE, lines

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|(.))", re.DOTALL)


def commands(file: BinaryIO, notes: Notes) -> Iterator[tuple[int, str]]:
    """Join the lines of each command: it goes on behind a backslash, and within quotes."""
    held: list[str] = []
    first = size = 0
    quote = ""
    for number, line in lines(file, notes):
        text = line.decode("utf-8", "surrogateescape")
        if not held:
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            first, size = number, 0
        held.append(text)
        size += len(text) + 1
        quote = _quote_after(text, quote)
        if size > MAX_LINE:
            notes.broken(f"line {first}", f"it is longer than {MAX_LINE >> 20} MiB")
            held, quote = [], ""
        elif not quote and not text.endswith("\\"):
            yield first, "\n".join(held)
            held = []
    if held:
        yield first, "\n".join(held)


_QUOTES = re.compile(r"\\.|\$?'|\"|(?:^|[ \t])#.*", re.DOTALL)
_ENDS = {"'": re.compile(r"'"), '"': re.compile(r'\\.|"', re.DOTALL), "$'": re.compile(r"\\.|'", re.DOTALL)}


def _quote_after(line: str, quote: str) -> str:
    """Tell which quotation is open at the end of a line, by which one was at its beginning."""
    position = 0
    while match := (_ENDS[quote] if quote else _QUOTES).search(line, position):
        position = match.end()
        found = match[0]
        if quote:
            if not found.startswith("\\"):
                quote = ""
        elif found in _ENDS:
            quote = found
    return quote


def split(text: str) -> list[str]:
    """Cut a command into words as a shell does. Raises ValueError for what a shell would do more with."""
    words: list[str] = []
    word: list[str] | None = None
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        kind = match.lastgroup or ""
        if kind == "blank":  # also a backslash at the end of a line
            if word is not None:
                words.append("".join(word))
            word = None
        elif kind != "comment" or word is not None:
            word = word or []
            word.append(_MEANING.get(kind, str)(match[0]))
    if position < len(text):
        if text[position] in "'\"" or text.startswith("$'", position):
            raise ValueError("a quotation in it does not end")
        raise ValueError(f"it does more than one curl command: {text[position : position + 20]!r}")
    if word is not None:
        words.append("".join(word))
    return words


_TOKEN = re.compile(
    r"(?P<blank>(?:[ \t\n]|\\\n|;[ \t\n]*\Z)+)"
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<single>'[^']*')"
    r"|(?P<ansi>\$'(?:[^'\\]|\\.)*+')"
    r'|(?P<double>"(?:[^"\\]|\\.)*+")'
    r"|(?P<escaped>\\.)"
    r"|(?P<bare>[^ \t\n'\"\\;&|<>()`$\#]+|\#|\$(?!['({\w]))",
    re.DOTALL,
)


def _unescaped(match: re.Match[str]) -> str:
    code, short, long, octal, char = match.groups()
    if code or octal:
        return bytes([int(code, 16) if code else int(octal, 8) & 0xFF]).decode("utf-8", "surrogateescape")
    if short or long:
        number = int(short or long, 16)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    return _ESCAPES.get(char, char if char in "\\'\"?" else f"\\{char}")


_MEANING: dict[str, Callable[[str], str]] = {
    "single": lambda token: token[1:-1],
    "ansi": lambda token: _ESCAPE.sub(_unescaped, token[2:-1]),
    "double": lambda token: re.sub(r"\\(\n|[$`\"\\])", lambda m: "" if m[1] == "\n" else m[1], token[1:-1]),
    "escaped": lambda token: token[1],
}
