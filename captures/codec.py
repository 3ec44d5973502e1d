"""Bytes of a segment <-> values. Pure. `docs/capture-format.md` describes the same thing in prose.

A segment is one msgpack stream: header map, frames, footer map, and the footer's offset. A frame's head has a fixed
width, so it can be read with one `struct`, and found again by its pattern after damage.
"""

import re
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import google_crc32c
import msgpack
import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from captures import columns, rows, sealing
from captures.bounds import Budget, first_length
from captures.columns import MAX_BLOCK, MAX_TIME, Block
from captures.errors import CaptureError, LockedError, VersionError
from captures.records import Record
from captures.sealing import Encryption, Lock, Seal
from rules.wire import Accounting

FORMAT = "reamp-capture"
VERSION = 2
READABLE = (1, 2)
"""Versions that are read. Their segments differ in what a block holds; the codec of each frame tells which it is."""

# Bounds that a writer keeps and a reader enforces, so that a hostile file cannot exhaust its memory.
MAX_HEADER = 64 << 10
MAX_FOOTER = 4 << 20
MAX_FRAMES = 100_000
MAX_RECORD = 8 << 20
MAX_PAYLOAD = MAX_BLOCK + (MAX_BLOCK >> 8)  # noise grows: what zstd calls its compress bound

MAX_BODY = MAX_RECORD - (1 << 20)
"""The most of a body that a record has room for whatever its headers are: a proxy takes some 64 KiB of them, and
pseudonyms make cookies up to seven times as long."""

_FRAME = struct.Struct(">BBQBQBI5sBIBI")
FRAME_HEAD = _FRAME.size
_BEFORE_CRC, _AFTER_CRC = 29, 34  # the checksum covers the frame without the five bytes of the checksum itself
_ARRAY_6, _UINT64, _UINT32, _BIN32 = 0x96, 0xCF, 0xCE, 0xC6
_CODEC = slice(_BEFORE_CRC - 4, _BEFORE_CRC)
_FOUR = b"\xa4"  # msgpack's mark of a text of four
COLUMNS, ROWS = b"zcol", b"zstd"
"""What a payload is: columns under zstd, or the rows of version 1."""
FRAME_PATTERN = re.compile(rb"\x96\xcf.{8}\xcf.{8}\xce.{4}\xa4[a-z0-9]{4}\xce.{4}\xc6", re.DOTALL)

_ALONE = 1000
"""Bytes of a part that are worth coding by themselves."""

_RECORD, _FIELD = 600, 150
"""Bytes that a record and a header take in memory beside what is in them: objects of the interpreter."""

FOOTER_START = b"\xa9closed_ns"
"""The first key in a footer."""

_CRC_KEY = b"\xa6crc32c"
_SEAL_KEY = b"\xa4seal\xc4" + bytes([sealing.FOOTER_TAG])
_AFTER_COVERED = sealing.FOOTER_TAG + len(_CRC_KEY) + 5  # the tag and the checksum

_TRAILER = struct.Struct(">BQ")
TRAILER = _TRAILER.size

# What msgpack raises over broken bytes: its own exceptions, ValueError for bounds and text, TypeError for odd keys.
_UNPACKING = (msgpack.UnpackException, ValueError, TypeError, OverflowError)


class Header(BaseModel):
    """The first object of a segment. Unknown fields of a newer writer are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: str
    version: int
    created_ns: int = Field(ge=0, lt=MAX_TIME, description="unix time")
    writer: str = Field(description="the same in all segments of one writer")
    sequence: int = Field(ge=1, description="1, 2, 3, ... over the segments of one writer")
    software: str = Field(description="name and version of what wrote it")
    flush_ns: int = Field(ge=0, description="a finished request is in the file within this if the disk keeps up")
    queue_size: int = Field(ge=1, description="bytes of packed records that may wait if it does not keep up")
    block_size: int = Field(ge=1, description="uncompressed bytes at which a block is full")
    redaction: dict[str, Any] = Field(description="what was replaced, and which key did it (never the key)")
    accounting: Accounting = Field(description="when the segment was opened")
    extra: dict[str, Any] = Field(default={}, description="what the caller added")
    encryption: Encryption | None = Field(default=None, description="how the blocks are encrypted, if they are")


Index = list[tuple[int, int, int, int]]
"""Offset, first ns, last ns and number of records of each frame, in the order of the file."""


class Frame(NamedTuple):
    """Where a block lies and what it spans."""

    offset: int
    first_ns: int
    last_ns: int
    records: int
    length: int
    """Bytes of the frame, head included."""


class Repaired(BaseModel):
    """What the footer of a repaired segment says about what is missing in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str = Field(description="name of the damaged file")
    lost_blocks: int = Field(ge=0, description="known to have been there")
    lost_records: int = Field(description="counted as written and not here; below 0: so many may be in two segments")
    missing_segments: int = Field(ge=0, description="missing between the one before and this one")
    torn: bool = Field(description="there was no footer: of what came last no accounts are left")


class Footer(BaseModel):
    """The last map of a segment that was closed in good order."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    closed_ns: int = Field(ge=0, lt=MAX_TIME, description="unix time")
    why: str = Field(description="closed because of: size, age, blocks, end")
    records: int = Field(ge=0)
    first_ns: int | None = Field(description="earliest arrival; None without records")
    last_ns: int | None
    accounting: Accounting = Field(description="when the segment was closed")
    repaired: Repaired | None = Field(default=None, description="if this is a copy of a damaged segment")
    header: bytes | None = Field(default=None, description="of an encrypted segment: a copy of the header")


# --- frames ---


class Compressor:
    """Turns records into payloads. Holds state: one thread at a time may pack with it, and one compress."""

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level)
        self._pack = columns.packer()

    def payload(self, records: Sequence[Record]) -> bytes:
        """Pack and compress one block. Raises ValueError, TypeError or OverflowError for what no block can hold."""
        return self.compressed(columns.encode(self._pack, records))

    def packing(self, records: Sequence[Record]) -> columns.Steps:
        """Pack one block, step by step; `compressed` takes what comes of it. Raises as `payload` does."""
        return columns.encoding(self._pack, records)

    def compressed(self, parts: Sequence[bytes]) -> bytes:
        """Compress what was packed: another thread can do that, and has the interpreter for moments only."""
        stream = self._compressor.compressobj(size=sum(map(len, parts)))
        compressed = []
        for part in parts:
            compressed.append(stream.compress(part))
            if len(part) > _ALONE:
                # A new block of zstd's: numbers and texts are not coded by the same table.
                compressed.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        return b"".join((*compressed, stream.flush()))


def weigh(record: Record) -> tuple[int, int]:
    """Tell how many bytes a record is, and how many it takes in memory, about.

    Raises TypeError for some of what no block can hold.
    """
    _, method, scheme, authority, path, version, headers, body, *_ = record
    text = method + scheme + authority + path + version
    size = len(body) + sum(map(len, chain.from_iterable(headers)))
    weight = _RECORD + _FIELD * len(headers)
    if text.isascii():
        size += len(text)
    else:
        size += len(text.encode("utf-8", "surrogatepass"))
        weight += 3 * len(text)  # four bytes for each character of a text that has but one of the rarest
    return size, size + weight


def pack_frame(first_ns: int, last_ns: int, count: int, payload: bytes, codec: bytes = COLUMNS) -> bytes:
    """Make the frame of one block from its payload."""
    fields = (_ARRAY_6, _UINT64, first_ns, _UINT64, last_ns, _UINT32, count, _FOUR + codec)
    head = _FRAME.pack(*fields, _UINT32, 0, _BIN32, len(payload))
    crc = _frame_crc(head, payload).to_bytes(4)
    return b"".join((head[:_BEFORE_CRC], b"\xce", crc, head[_AFTER_CRC:], payload))


def seal_frame(seal: Seal, number: int, first_ns: int, last_ns: int, count: int, payload: bytes) -> bytes:
    """Make the frame of a segment's block `number` from its payload, encrypted."""
    name = sealing.sealed_name(COLUMNS)
    start = pack_frame(first_ns, last_ns, count, b"", name)[:_BEFORE_CRC]
    return pack_frame(first_ns, last_ns, count, seal.seal(start, number, payload), name)


def _frame_crc(head: bytes, payload: bytes) -> int:
    around = google_crc32c.value(head[:_BEFORE_CRC] + head[_AFTER_CRC:])
    return google_crc32c.extend(around, payload)  # type: ignore[no-any-return]


def frame_head(head: bytes, offset: int) -> Frame | None:
    """Read a frame's head; None if these bytes are not one. Nothing is checked that needs the payload."""
    if len(head) < FRAME_HEAD:
        return None
    array, u1, first, u2, last, u3, count, codec, u4, _, binary, length = _FRAME.unpack_from(head)
    if (array, u1, u2, u3, u4, binary) != (_ARRAY_6, _UINT64, _UINT64, _UINT32, _UINT32, _BIN32):
        return None
    if codec[:1] != _FOUR or not first <= last < MAX_TIME or not count or length > MAX_PAYLOAD:
        return None
    return Frame(offset, first, last, count, FRAME_HEAD + length)


def frame_intact(data: bytes) -> bool:
    """Check the checksum of a whole frame."""
    head = data[:FRAME_HEAD]
    expected = int.from_bytes(head[_BEFORE_CRC + 1 : _AFTER_CRC])
    return _frame_crc(head, data[FRAME_HEAD:]) == expected


def stamped(data: bytes, first_ns: int, last_ns: int) -> bytes:
    """Give a whole frame another span."""
    frame = bytearray(data)
    frame[2:10], frame[11:19] = first_ns.to_bytes(8), last_ns.to_bytes(8)
    crc = _frame_crc(bytes(frame[:FRAME_HEAD]), bytes(frame[FRAME_HEAD:]))
    frame[_BEFORE_CRC + 1 : _AFTER_CRC] = crc.to_bytes(4)
    return bytes(frame)


def check_frame(data: bytes, frame: Frame) -> None:
    """Check from the outside that a whole frame lies where `frame` says. Raises CaptureError."""
    if len(data) != frame.length or frame_head(data, frame.offset) != frame:
        raise CaptureError("the block is not where or what the index says")
    if not frame_intact(data):
        raise CaptureError("the block's checksum is wrong")


def block_number(data: bytes) -> int | None:
    """Give the number that the block in a whole frame claims; None if it is not encrypted."""
    return sealing.number_of(data[FRAME_HEAD:]) if sealing.is_sealed(data[_CODEC]) else None


def read_frame(data: bytes, frame: Frame, lock: Lock | None = None, unpack: columns.Unpack = columns.decode) -> Block:
    """Unpack a whole frame that lies where `frame` says, but for its records.

    `lock` is that of its segment, if that is encrypted. Raises CaptureError, and LockedError if the lock does not open.
    """
    check_frame(data, frame)
    codec = data[_CODEC]
    payload = data[FRAME_HEAD:]
    if sealing.is_sealed(codec):
        if lock is None:
            raise CaptureError("the block is encrypted, and there is no header that holds its key")
        if lock.seal is None:
            raise LockedError("the block is encrypted")
        codec, payload = sealing.plain_name(codec), lock.seal.open(data[:_BEFORE_CRC], payload)
    elif lock is not None:
        # Whoever may write could put in what was never recorded.
        raise CaptureError("the block is not encrypted, and this segment's are: it comes from elsewhere")
    if codec not in {COLUMNS, ROWS}:
        raise CaptureError("the block needs a codec that this version of reamp does not know")
    try:
        size = zstandard.frame_content_size(payload)
        if not 0 < size <= MAX_BLOCK:
            raise CaptureError(f"the block claims {size} bytes of records, more than the format allows")
        content = zstandard.ZstdDecompressor(max_window_size=MAX_BLOCK).decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CaptureError(f"the block does not decompress ({error})") from None
    if codec == ROWS:
        return rows.decode(content, frame.records)
    return unpack(content, frame.records)


# --- header, footer, trailer ---


def pack_header(header: Header) -> bytes:
    """Pack the header. Raises ValueError if it is too large."""
    packed = _seal(header.model_dump(mode="json", exclude={"encryption"} if header.encryption is None else None))
    if len(packed) > MAX_HEADER:
        raise ValueError(f"a header of {len(packed)} bytes is larger than the format allows")
    return packed


def pack_footer(footer: Footer, index: Index, offset: int, seal: Seal | None = None) -> bytes:
    """Pack the footer that starts at `offset`, and the trailer that leads to it. Raises ValueError if too large.

    With `seal` it gets a tag that only who has the segment's key can make.
    """
    optional = {name for name in ("repaired", "header") if getattr(footer, name) is None}
    fields = footer.model_dump(mode="json", exclude={*optional, "header"})
    if footer.header is not None:
        fields["header"] = footer.header
    packed = _seal({**fields, "index": index}, seal)
    if len(packed) > MAX_FOOTER:
        raise ValueError(f"a footer of {len(packed)} bytes is larger than the format allows")
    return packed + _TRAILER.pack(_UINT64, offset)


def _seal(fields: dict[str, Any], seal: Seal | None = None) -> bytes:
    """Pack a map whose last entry is the checksum of all bytes before the checksum's value.

    With `seal`, the entry before it is a tag made over all bytes before the tag's.
    """
    if seal is not None:
        fields = {**fields, "seal": bytes(sealing.FOOTER_TAG)}
    packed: bytes = msgpack.packb({**fields, "crc32c": 0xFFFFFFFF})  # any value that takes five bytes
    packed = packed[:-5]
    if seal is not None:
        covered = packed[: -sealing.FOOTER_TAG - len(_CRC_KEY)]
        packed = covered + seal.sign(covered) + _CRC_KEY
    crc: int = google_crc32c.value(packed)
    return packed + b"\xce" + crc.to_bytes(4)


def _unseal(data: bytes) -> tuple[dict[str, Any], int]:
    """Unpack a map made by `_seal` and give its length. Raises CaptureError."""
    budget = Budget(8 * MAX_FRAMES, 1000)
    unpacker = msgpack.Unpacker(
        max_buffer_size=max(len(data), 1),
        max_array_len=MAX_FRAMES,
        max_map_len=1000,
        object_pairs_hook=budget.map,
        list_hook=budget.array,
    )
    try:
        unpacker.feed(data[: first_length(data)])
        fields = unpacker.unpack()
        length = unpacker.tell()
        budget.check()
    except msgpack.OutOfData:
        raise CaptureError("it is cut off") from None
    except _UNPACKING as error:
        raise CaptureError(f"it does not unpack ({error or type(error).__name__})") from None
    if not isinstance(fields, dict) or fields.get("crc32c") != google_crc32c.value(data[: length - 5]):
        raise CaptureError("its checksum is wrong")
    return fields, length


def unpack_header(data: bytes) -> tuple[Header, int]:
    """Unpack the header at the start of `data` and give its length. Raises CaptureError."""
    fields, length = _unseal(data[:MAX_HEADER])
    if fields.get("format") != FORMAT:
        raise CaptureError("it says that it is another format")
    version = fields.get("version")
    if version not in READABLE:
        raise VersionError(f"it has format version {version}, and this version of reamp reads up to {VERSION}")
    try:
        return Header.model_validate(fields), length
    except ValidationError as error:
        raise CaptureError(f"its fields are wrong ({_first(error)})") from None


def unpack_footer(data: bytes, start: int, end: int) -> tuple[Footer, list[Frame], int]:
    """Unpack the footer at the start of `data`: what it says, where the frames lie, and its length in bytes.

    Frames have to lie between `start` and `end`. Raises CaptureError.
    """
    fields, length = _unseal(data[:MAX_FOOTER])
    try:
        return Footer.model_validate(fields), _frames(fields.get("index"), start, end), length
    except ValidationError as error:
        raise CaptureError(f"its fields are wrong ({_first(error)})") from None


def footer_signed(data: bytes, seal: Seal) -> bool:
    """Whether a footer, as it stands in the file, was made by who has the segment's key."""
    covered, tag = data[:-_AFTER_COVERED], data[-_AFTER_COVERED : -len(_CRC_KEY) - 5]
    return covered.endswith(_SEAL_KEY) and seal.signed(covered, tag)


def _frames(index: Any, start: int, end: int) -> list[Frame]:
    """Check an index. Each frame reaches to the next one. Raises CaptureError."""
    frames: list[Frame] = []
    entries = index if isinstance(index, list) else [None]
    for entry in reversed(entries):
        whole = isinstance(entry, list) and len(entry) == 4 and all(type(number) is int for number in entry)
        frame = Frame._make([*entry, end - entry[0]]) if whole else None
        if frame is None or not (
            start <= frame.offset <= end - FRAME_HEAD
            and 0 <= frame.first_ns <= frame.last_ns < MAX_TIME
            and frame.records > 0
        ):
            raise CaptureError("its index is wrong")
        frames.append(frame)
        end = frame.offset
    return frames[::-1]


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def unpack_trailer(data: bytes) -> int | None:
    """Give the footer's offset from the last bytes of a segment; None if they are no trailer."""
    if len(data) != TRAILER or data[0] != _UINT64:
        return None
    return int.from_bytes(data[1:])


def looks_like_ours(start: bytes) -> bool:
    """Whether a file whose header does not unpack is still a segment: no single flipped bit can hide both words."""
    return b"format" in start[:48] or FORMAT.encode() in start[:48]
