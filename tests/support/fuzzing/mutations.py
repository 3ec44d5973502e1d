"""Hostile segments: good ones whose bytes, frames or contents are changed, always the same for the same seed.

Bytes that are merely changed do not get past a checksum. So most mutations go deeper: they change what stands inside a
frame, header or footer and then make compression, encryption and checksums right again.
"""

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import google_crc32c
import msgpack
import zstandard

from captures import codec, columns, sealing
from captures.records import Record
from captures.sealing import Encryption, Seal
from rules.wire import Accounting
from tests.captures import making
from tests.captures.making import MS, NOON, record

_EDGES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0xFFFF,
    1 << 16,
    1 << 24,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 63,
    (1 << 64) - 1,
)
KEY = bytes(range(32))
"""The data key of encrypted segments here."""

_CODECS = (b"zcol", b"zstd", b"xcol", b"xstd", b"none", b"\xff\xff\xff\xff")


def corpus() -> list[bytes]:
    """Give good segments of different shapes."""
    small = [[record(NOON + 10 * block + n, path=f"/{block}/{n}") for n in range(4)] for block in range(3)]
    rich = [
        record(
            NOON + n * MS,
            method=["GET", "POST"][n % 2],
            path=f"/item/{n % 7}?q={n}",
            headers=((b"Host", b"shop.example"), (b"Cookie", b"session=%d" % n), (b"Referer", b"/%d" % (n % 3))),
            body=b'{"n": %d}' % n if n % 2 else b"",
            body_size=9 if n % 2 else 0,
            status=[200, 404, 0][n % 3],
            ttfb_ns=-1 if n % 3 == 2 else n * MS,
        )
        for n in range(60)
    ]
    odd = [record(path="\udcff/", method="\udc80", headers=()), record(NOON - 5, body=bytes(3000), body_size=9000)]
    shapes = [small, [rich[:30], rich[30:]], [odd], []]
    return [*(b"".join(making.segment(blocks)) for blocks in shapes), sealed(small), sealed([rich])]


def sealed(blocks: Sequence[Sequence[Record]]) -> bytes:
    """Make an encrypted segment whose data key is `KEY`."""
    plain, _ = codec.unpack_header(making.header())
    lock = Encryption(scheme=sealing.SCHEME, key="-----BEGIN AGE ENCRYPTED FILE-----\n", recipients=["age1fuzz…"])
    header = codec.pack_header(plain.model_copy(update={"encryption": lock}))
    seal, frames, index = Seal(KEY, header), [header], []
    for number, block in enumerate(blocks):
        arrivals = [one.arrival_ns for one in block]
        span = (min(arrivals), max(arrivals), len(block))
        index.append((sum(map(len, frames)), *span))
        frames.append(codec.seal_frame(seal, number, *span, codec.Compressor(3).payload(block)))
    count = sum(map(len, blocks))
    footer = codec.Footer(
        closed_ns=NOON,
        why="end",
        records=count,
        first_ns=min(first for _, first, _, _ in index),
        last_ns=max(last for _, _, last, _ in index),
        accounting=Accounting(seen=count, written=count),
        header=header,
    )
    return b"".join((*frames, codec.pack_footer(footer, index, sum(map(len, frames)), seal)))


def mutate(seed: str, segments: Sequence[bytes]) -> bytes:
    """Make one hostile segment; the same one for the same seed."""
    draw = random.Random(seed)
    data = draw.choice(segments)
    deep = draw.random()
    if deep < 0.6:
        data = draw.choice(_DEEP)(draw, data)
    if deep >= 0.6 or draw.random() < 0.2:
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            data = draw.choice(_FLAT)(draw, data, segments)
    return data


# --- bytes as they come ---


def _flip(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _bit in range(draw.choice((1, 1, 2, 8))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _poke(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Put an edge of a number's range somewhere."""
    width = draw.choice((1, 2, 4, 8))
    value = (draw.choice(_EDGES) + draw.choice((-1, 0, 0, 1))) % (1 << 8 * width)
    at = draw.randrange(len(data) + 1)
    return data[:at] + value.to_bytes(width) + data[at + width :]


def _cut(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _range(draw: random.Random, data: bytes) -> tuple[int, int]:
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.choice((1, 5, 39, 200, 5000)))


def _remove(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(draw, data)
    return data[:start] + data[end:]


def _repeat(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(draw, data)
    return data[:end] + data[start:end] * draw.choice((1, 2, 50)) + data[end:]


def _blank(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(draw, data)
    return data[:start] + bytes(end - start) + data[end:]


def _insert(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.randbytes(draw.choice((1, 9, 39, 300))) + data[at:]


def _splice(draw: random.Random, data: bytes, segments: Sequence[bytes]) -> bytes:
    other = draw.choice(segments)
    return data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other) + 1) :]


def _swap(draw: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Let two frames change places."""
    header, frames, rest = _taken_apart(data)
    draw.shuffle(frames)
    return header + b"".join(frames) + rest


# --- the inside, with checksums made right ---


def _taken_apart(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Give header, frames and footer of a good segment."""
    _, at = codec.unpack_header(data)
    header, frames = data[:at], []
    while (frame := codec.frame_head(data[at : at + codec.FRAME_HEAD], at)) is not None:
        frames.append(data[at : at + frame.length])
        at += frame.length
    return header, frames, data[at:]


def _put_together(draw: random.Random, header: bytes, frames: Sequence[bytes], footer: dict[str, Any] | None) -> bytes:
    """Make a segment whose index fits the frames, with a footer or torn."""
    offset, index = len(header), []
    for data in frames:
        first, last, count = (int.from_bytes(data[a:b]) for a, b in ((2, 10), (11, 19), (20, 24)))
        index.append((offset, first, last, count))
        offset += len(data)
    body = header + b"".join(frames)
    if footer is None or draw.random() < 0.2:
        return body
    count = sum(entry[3] for entry in index)
    span = {
        "first_ns": min((entry[1] for entry in index), default=None),
        "last_ns": max((entry[2] for entry in index), default=None),
    }
    fields = {**footer, **span, "records": count, "index": index}
    fields.pop("crc32c", None)
    signed = fields.pop("seal", None) is not None and draw.random() < 0.8
    packed = codec._seal(fields, Seal(KEY, header)) if signed else checked(fields)
    return body + packed + struct.pack(">BQ", 0xCF, offset)


def checked(fields: dict[Any, Any]) -> bytes:
    """Pack a map that checks itself, whatever is in it."""
    packed: bytes = msgpack.packb({**fields, "crc32c": 0xFFFFFFFF})
    packed = packed[:-5]
    crc: int = google_crc32c.value(packed)
    return packed + b"\xce" + crc.to_bytes(4)


def _footer(rest: bytes) -> dict[str, Any]:
    fields = msgpack.Unpacker(max_buffer_size=len(rest))
    fields.feed(rest)
    return dict(fields.unpack())


def _reframed(draw: random.Random, header: bytes, frame: bytes, payload: bytes, name: bytes | None = None) -> bytes:
    """Make a frame like this one with another payload, sealed if it was."""
    first, last, count = (int.from_bytes(frame[a:b]) for a, b in ((2, 10), (11, 19), (20, 24)))
    if draw.random() < 0.2:
        count = draw.choice((count, 1, columns.MAX_RECORDS, columns.MAX_RECORDS + 1, (1 << 32) - 1))
    if draw.random() < 0.1:
        first, last = draw.choice(((0, last), (first, (1 << 63) - 1), (last, first)))
    if name is None and sealing.is_sealed(frame[25:29]):
        return codec.seal_frame(Seal(KEY, header), codec.block_number(frame) or 0, first, last, count, payload)
    return codec.pack_frame(first, last, count, payload, name or frame[25:29])


def _payload(header: bytes, frame: bytes) -> bytes:
    payload = frame[codec.FRAME_HEAD :]
    return Seal(KEY, header).open(frame[:29], payload) if sealing.is_sealed(frame[25:29]) else payload


def _each_payload(
    change: Callable[[random.Random, bytes, int], bytes],
) -> Callable[[random.Random, bytes], bytes]:
    """Change the content of one frame and make everything around it right."""

    def changed(draw: random.Random, data: bytes) -> bytes:
        header, frames, rest = _taken_apart(data)
        if not frames:
            return data
        place = draw.randrange(len(frames))
        content = zstandard.decompress(_payload(header, frames[place]), max_output_size=columns.MAX_BLOCK)
        count = int.from_bytes(frames[place][20:24])
        payload = zstandard.compress(change(draw, content, count), 1)
        frames[place] = _reframed(draw, header, frames[place], payload)
        return _put_together(draw, header, frames, _footer(rest))

    return changed


def _changed_content(draw: random.Random, content: bytes, _: int) -> bytes:
    for _step in range(draw.choice((1, 1, 3))):
        content = draw.choice(_FLAT[:8])(draw, content, [content])
    return content


def _changed_column(draw: random.Random, content: bytes, count: int) -> bytes:
    """Put something hostile in the place of one value, wherever it is in the tree."""
    tree = msgpack.unpackb(content, use_list=True, strict_map_key=False)
    for _step in range(draw.choice((1, 1, 2))):
        node, place = tree, draw.randrange(len(tree))
        while isinstance(node[place], list) and node[place] and draw.random() < 0.7:
            node, place = node[place], draw.randrange(len(node[place]))
        node[place] = _hostile(draw, count)
    return bytes(msgpack.packb(tree, use_bin_type=True))


def _hostile(draw: random.Random, count: int, depth: int = 0) -> Any:
    """Give a value that a reader may not expect."""
    kinds: list[Callable[[], Any]] = [
        lambda: draw.choice(_EDGES),
        lambda: -min(draw.choice(_EDGES), 1 << 63),
        lambda: None,
        lambda: True,
        lambda: 1.5,
        lambda: "text",
        lambda: draw.randbytes(draw.choice((0, 1, count, 2 * count, 8 * count, 9 * count))),
        lambda: bytes(8 * count),
        lambda: b"\xff" * (8 * count),
        list,
        dict,
        lambda: {"a": 1},
        lambda: [draw.choice(_EDGES)] * 3,
        lambda: msgpack.ExtType(5, b"x"),
        lambda: msgpack.Timestamp(1, 2),
        lambda: [_hostile(draw, count, depth + 1) for _ in range(draw.randrange(4))] if depth < 4 else 0,
        lambda: [0, 1, bytes(8 * count)],
        lambda: [draw.choice(_EDGES) % (1 << 64), draw.choice(_EDGES) % (1 << 64), b"\xff" * (8 * count)],
        lambda: [b"\xff" * count, [b"x"]],
        lambda: [b"", [b"x" * (1 << 20)]],
    ]
    return draw.choice(kinds)()


def _claims(draw: random.Random, content: bytes, _: int) -> bytes:
    """Begin with marks that promise more than there is, or nest deeper than anybody should."""
    marks = (
        b"\xdd\xff\xff\xff\xff",
        b"\xdc\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    )
    nested = (b"\x91" * draw.choice((10, 600, 5000, 200_000)), b"\x81\x01" * draw.choice((10, 600, 20_000)))
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice((*marks, *nested)) + content[at:]


def _many(draw: random.Random, _: bytes, count: int) -> bytes:
    """Hold as many small things as fit: each takes more memory than bytes."""
    thing = draw.choice((b"\x80", b"\x90", b"\x91\x00", b"\xa2ab", b"\xcd\x01\x02", b"\xc4\x02ab", b"\xcb" + bytes(8)))
    rows = draw.choice((*(1, 1, 2) * 7, 16, 60))
    row = b"\xdc\xff\xff" + thing * 0xFFFF
    many = b"\xdc" + rows.to_bytes(2) + row * rows
    if draw.random() < 0.5:
        return many
    return b"\x9c" + bytes(msgpack.packb(count)) + many + b"\x00" * 10


def _bomb(draw: random.Random, data: bytes) -> bytes:
    """Put into a frame what unpacks to much, to nothing, or to something else than it says."""
    header, frames, rest = _taken_apart(data)
    if not frames:
        return data
    size = draw.choice((columns.MAX_BLOCK, columns.MAX_BLOCK + 1, 1 << 20))
    kind = draw.randrange(7)
    if kind == 0:
        payload = zstandard.compress(bytes([draw.choice((0, 0x90, 0x91, 0x80))]) * size, 1)
    elif kind == 1:
        payload = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))
    elif kind == 2:
        payload = zstandard.compress(bytes(100)) * 2
    elif kind == 3:
        payload = b"\x50\x2a\x4d\x18" + struct.pack("<I", draw.choice(_EDGES) % (1 << 32)) + bytes(40)
    elif kind == 4:  # a head that claims a size, and a window, that it does not have
        payload = b"\x28\xb5\x2f\xfd\xe0" + draw.choice(_EDGES).to_bytes(8, "little") + draw.randbytes(20)
    elif kind == 5:
        parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
        payload = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(1000))
    else:
        payload = draw.randbytes(draw.choice((0, 1, 24, 400)))
    frames[draw.randrange(len(frames))] = _reframed(draw, header, frames[0], payload, draw.choice((*_CODECS, None)))
    return _put_together(draw, header, frames, _footer(rest))


def _expanding(draw: random.Random, data: bytes) -> bytes:
    """Build a block that is small, and stands for far more than it is: one thing meant many times over."""
    header, frames, rest = _taken_apart(data)
    count = draw.choice((*(1, 50, 1000) * 7, columns.MAX_RECORDS))
    shape = [draw.randrange(2)] * draw.choice((1, 100, columns.MAX_HEADERS))
    fields = [[b"", b""], [b""]] if draw.random() < 0.7 else [[b"n" * 1000, b"v" * 1000], [b"n" * 1000]]
    holes = draw.choice((1, 50))
    numbers = [0, 1, b""]
    tree = [
        count,
        NOON,
        numbers,
        numbers,
        numbers,
        numbers,
        numbers,
        numbers,
        [b"", [["GET", "http", "h", "HTTP/1.1"]]],
        [b"", ["/" * draw.choice((1, 1000, 1 << 20))]],
        [fields + [[b""]] * (holes - 1), [b"", [shape]], [[b"", [b""]]] * holes],
        [b"", [b"b" * draw.choice((0, 1000, 1 << 20))]],
    ]
    payload = zstandard.compress(msgpack.packb(tree), 1)
    return _put_together(draw, header, [*frames, codec.pack_frame(NOON, NOON, count, payload)], _footer(rest))


def _false_frames(draw: random.Random, data: bytes) -> bytes:
    """Change the head of a frame, and make its checksum right."""
    header, frames, rest = _taken_apart(data)
    if not frames:
        return data
    place = draw.randrange(len(frames))
    frame = frames[place]
    first, last, count = (int.from_bytes(frame[a:b]) for a, b in ((2, 10), (11, 19), (20, 24)))
    edge = draw.choice(_EDGES)
    match draw.randrange(4):
        case 0:
            first = edge % (1 << 64)
        case 1:
            last = edge % (1 << 64)
        case 2:
            count = edge % (1 << 32)
        case _:
            pass
    frames[place] = codec.pack_frame(first, last, count, frame[codec.FRAME_HEAD :], draw.choice(_CODECS))
    if draw.random() < 0.3:
        frames = frames * draw.choice((2, 20, 300))
    return _put_together(draw, header, frames, _footer(rest))


def _false_header(draw: random.Random, data: bytes) -> bytes:
    _, length = codec.unpack_header(data)
    fields = msgpack.unpackb(data[:length])
    del fields["crc32c"]
    for _step in range(draw.choice((1, 1, 3))):
        name = draw.choice((*fields, "encryption", "unknown", "extra", "redaction"))
        fields[name] = _hostile(draw, 100)
    if draw.random() < 0.1:
        fields["encryption"] = {"scheme": "age+chacha20poly1305", "key": "-----BEGIN AGE", "recipients": ["x"]}
    return checked(fields) + data[length:]


def _false_footer(draw: random.Random, data: bytes) -> bytes:
    """Change footer and index, and make the checksum right."""
    header, frames, rest = _taken_apart(data)
    footer = _footer(rest)
    del footer["crc32c"]
    index: list[Any] = list(footer["index"])
    offset = len(header) + sum(map(len, frames))
    match draw.randrange(6):
        case 0 if index:
            index[draw.randrange(len(index))] = _hostile(draw, 4)
        case 1 if index:
            place = draw.randrange(len(index))
            index[place] = list(index[place])
            index[place][draw.randrange(4)] = draw.choice(_EDGES)
        case 2:
            index = index * draw.choice((2, 1000))
        case 3:
            index = [[len(header) + n, NOON, NOON, 1] for n in range(draw.choice((10, 1000)))]
        case 4:
            draw.shuffle(index)
        case _:
            pass
    footer["index"] = index
    if draw.random() < 0.3:
        footer[draw.choice((*footer, "repaired", "seal", "header"))] = _hostile(draw, 100)
    end = offset + draw.choice((0, 0, 0, 1, -1))
    return header + b"".join(frames) + checked(footer) + struct.pack(">BQ", 0xCF, max(0, end))


def _false_trailer(draw: random.Random, data: bytes) -> bytes:
    return data[:-8] + ((draw.choice(_EDGES) + draw.randrange(-2, 3)) % (1 << 64)).to_bytes(8)


def _many_frames(draw: random.Random, data: bytes) -> bytes:
    """Consist of very many heads, right and wrong, so that a reader that looks for the next one has to try them all."""
    header, frames, rest = _taken_apart(data)
    if not frames:
        return data
    number = draw.choice((50, 1000))
    head = frames[0][: codec.FRAME_HEAD]
    lies = head[:35] + draw.choice((0, 50, 1 << 20)).to_bytes(4)
    return header + draw.choice((lies, lies + b"\x00", frames[0][:-1])) * number + rest


_FLAT: list[Callable[[random.Random, bytes, Sequence[bytes]], bytes]] = [
    _flip,
    _poke,
    _cut,
    _remove,
    _repeat,
    _blank,
    _insert,
    _splice,
    _flip,
]
_DEEP: list[Callable[[random.Random, bytes], bytes]] = [
    _each_payload(_changed_content),
    _each_payload(_changed_content),
    _each_payload(_changed_column),
    _each_payload(_changed_column),
    _each_payload(_changed_column),
    _each_payload(_claims),
    _each_payload(_many),
    _bomb,
    _expanding,
    _false_frames,
    _false_header,
    _false_footer,
    _false_footer,
    _false_trailer,
    _many_frames,
    lambda draw, data: _swap(draw, data, []),
]
