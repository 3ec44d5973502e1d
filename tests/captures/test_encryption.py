"""Encrypted captures, from the writer to the reader: who can read, what is noticed, what remains readable outside."""

import asyncio
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import msgpack
import pyrage
import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from typer.testing import CliRunner

from captures import codec, keyring, sealing
from captures.accounting import Counts
from captures.batch import BatchWriter
from captures.errors import CaptureError, LockedError
from captures.keyring import Identities, Recipients
from captures.reader import Capture, Segment
from captures.records import Record
from captures.redaction import Redactor
from captures.repair import repair
from captures.verify import verify
from captures.writer import CaptureWriter, WriterSettings
from reamp.commands.captures import app
from rules.units import Size
from tests.captures.making import KEY, NOON, noise, record

MINE, OTHER, STRANGER = (keyring.generate() for _ in range(3))
WORDS = b"a-word-that-must-not-be-found-on-the-disk"
MADE = [record(NOON + n, path=f"/{n}?{WORDS.decode()}", body=noise(900), body_size=900) for n in range(40)]


def identities(*pairs: tuple[str, str]) -> Identities:
    return Identities([keyring.identity(secret) for secret, _ in pairs])


ME = identities(MINE)


async def write(folder: Path, made: list[Record] = MADE, *recipients: str, segment_size: int = 64 << 20) -> None:
    """Write as the sidecar does, to me and somebody else unless told otherwise, ten records or so in a block."""
    counts = Counts()
    settings = WriterSettings(block_size=Size(10_000), segment_size=Size(segment_size))
    to = Recipients(recipients or (MINE[1], OTHER[1]))
    writer = CaptureWriter(folder, settings, counts, Redactor(KEY), recipients=to)
    await writer.start()
    for one in made:
        counts.seen += 1
        assert writer.offer(one)
        await asyncio.sleep(0)
    await writer.close()


def one_file(folder: Path) -> Path:
    (file,) = folder.glob("*.reamp")
    return file


def taken_apart(path: Path) -> tuple[bytes, list[bytes], bytes]:
    """Header, frames and the rest."""
    data, segment = path.read_bytes(), Segment(path)
    frames = [data[frame.offset : frame.offset + frame.length] for frame in segment.frames()]
    return segment.header_bytes, frames, data[segment.end :]


def put_together(path: Path, header: bytes, frames: list[bytes], footer: codec.Footer | None) -> None:
    """Write a segment whose index fits, as somebody without the key could."""
    index, offset = [], len(header)
    for frame in frames:
        first, last, count = (int.from_bytes(frame[a:b]) for a, b in ((2, 10), (11, 19), (20, 24)))
        index.append((offset, first, last, count))
        offset += len(frame)
    end = b"" if footer is None else codec.pack_footer(footer, index, offset)
    path.write_bytes(header + b"".join(frames) + end)


async def test_every_recipient_reads_all_of_it(tmp_path: Path) -> None:
    await write(tmp_path)
    for who in (MINE, OTHER):
        capture = Capture(tmp_path, identities(STRANGER, who))
        assert list(capture.records()) == MADE
        assert capture.damage == []
        report = verify(tmp_path, identities=identities(who))
        assert (report.ok, report.records, report.segments[0].unread) == (True, 40, 0)


async def test_the_disk_shows_nothing_of_what_was_sent(tmp_path: Path) -> None:
    await write(tmp_path / "sealed")
    with BatchWriter(tmp_path / "plain") as out:
        for one in MADE:
            out.write(one)
    found = {}
    for folder in ("sealed", "plain"):
        data = b"".join(file.read_bytes() for file in (tmp_path / folder).iterdir())
        found[folder] = sum(
            one.body[100:132] in data for one in MADE
        )  # noise does not compress: it stands there as it is
    assert found == {"sealed": 0, "plain": len(MADE)}


async def test_the_writer_leaves_no_key_and_no_identity_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []
    new_key = sealing.new_key

    def remembered() -> bytes:
        drawn.append(new_key())
        return drawn[-1]

    monkeypatch.setattr(sealing, "new_key", remembered)
    await write(tmp_path, MADE, MINE[1], segment_size=20_000)
    files = list(tmp_path.rglob("*"))
    assert len(drawn) == len(set(drawn)) == len(files) > 1
    everything = b"".join(file.read_bytes() for file in files)
    for secret in (*drawn, MINE[0].encode(), MINE[1].encode()):
        assert secret not in everything


async def test_without_the_right_identity_nothing_is_read_and_it_is_said_why(tmp_path: Path) -> None:
    await write(tmp_path, segment_size=20_000)
    count = len(list(tmp_path.glob("*.reamp")))
    names = f"{MINE[1][:12]}…, {OTHER[1][:12]}…"
    with pytest.raises(LockedError) as raised:
        Capture(tmp_path).records()
    assert str(raised.value) == (
        f"{count} segments are encrypted to {names}: give --identity FILE with a secret key of one of them"
    )
    with pytest.raises(LockedError, match="none of the identities that were given is among them"):
        Capture(tmp_path, identities(STRANGER)).records()


async def test_the_outside_is_checked_without_any_identity(tmp_path: Path) -> None:
    await write(tmp_path)
    capture = Capture(tmp_path)
    assert (capture.count, capture.first_ns, capture.last_ns) == (40, NOON, NOON + 39)
    report = verify(tmp_path)
    (segment,) = report.segments
    assert (report.ok, report.records, segment.unread) == (True, 40, segment.blocks)
    assert segment.encrypted_to == [f"{MINE[1][:12]}…", f"{OTHER[1][:12]}…"]
    path = one_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "checksum is wrong" in str(verify(tmp_path).segments[0].damage)


async def test_a_torn_capture_reads_up_to_the_last_whole_block(tmp_path: Path) -> None:
    await write(tmp_path)
    path = one_file(tmp_path)
    header, frames, _ = taken_apart(path)
    ends = [len(header) + sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    whole = [int.from_bytes(frame[20:24]) for frame in frames]
    data = path.read_bytes()
    for cut in (ends[0], ends[1] + 1, ends[2] - 1, ends[-1], ends[-1] + 20):
        path.write_bytes(data[:cut])
        capture = Capture(tmp_path, ME)
        assert list(capture.records()) == MADE[: sum(whole[: sum(end <= cut for end in ends)])]
        assert capture.segments[0].state == "torn"
        assert not verify(tmp_path, identities=ME).ok


def _bit(payload_of: int) -> Callable[[list[bytes], list[bytes]], list[bytes]]:
    def change(frames: list[bytes], _: list[bytes]) -> list[bytes]:
        frame = frames[payload_of]
        changed = frame[:-1] + bytes([frame[-1] ^ 1])
        return [*frames[:payload_of], _mended(changed), *frames[payload_of + 1 :]]

    return change


def _mended(frame: bytes) -> bytes:
    """Make the checksum right, as anybody can."""
    first, last, count = (int.from_bytes(frame[a:b]) for a, b in ((2, 10), (11, 19), (20, 24)))
    return codec.pack_frame(first, last, count, frame[codec.FRAME_HEAD :], frame[25:29])


def _other_times(frames: list[bytes], _: list[bytes]) -> list[bytes]:
    return [codec.stamped(frames[0], NOON - 1000, NOON + 1000), *frames[1:]]


def _from_elsewhere(frames: list[bytes], others: list[bytes]) -> list[bytes]:
    return [others[0], *frames[1:]]


def _plain(frames: list[bytes], _: list[bytes]) -> list[bytes]:
    made = [record(NOON, path="/invented")]
    return [codec.pack_frame(NOON, NOON, 1, codec.Compressor(3).payload(made)), *frames[1:]]


def _renumbered(frames: list[bytes], _: list[bytes]) -> list[bytes]:
    frame = frames[0]
    at = codec.FRAME_HEAD
    return [_mended(frame[:at] + (9).to_bytes(8) + frame[at + 8 :]), *frames[1:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_bit(1), "block 1 is not the one that was sealed here"),
        (_other_times, "block 0 is not the one that was sealed here"),
        (_from_elsewhere, "block 0 is not the one that was sealed here"),
        (_renumbered, "block 9 is not the one that was sealed here"),
        (_plain, "the block is not encrypted, and this segment's are"),
        (lambda frames, _: [*frames, frames[0]], "block 0 is there twice"),
        (lambda frames, _: [frames[1], frames[0], *frames[2:]], "they were moved"),
        (lambda frames, _: [frames[0], *frames[2:]], "1 are missing or damaged"),
    ],
)
@pytest.mark.parametrize("torn", [False, True])
async def test_whoever_may_write_cannot_change_a_block_unnoticed(
    change: Callable[[list[bytes], list[bytes]], list[bytes]], said: str, torn: bool, tmp_path: Path
) -> None:
    await write(tmp_path / "in")
    await write(tmp_path / "other")
    path = one_file(tmp_path / "in")
    footer = Segment(path).footer
    header, frames, _ = taken_apart(path)
    changed = change(frames, taken_apart(one_file(tmp_path / "other"))[1])
    put_together(path, header, changed, None if torn else footer)

    report = verify(tmp_path / "in", identities=ME)
    damage = "; ".join(report.segments[0].damage)
    assert said in damage
    assert torn or "the footer is not sealed by who wrote the blocks" in damage
    read = list(Capture(tmp_path / "in", ME).records())
    assert len(read) == len({one.path for one in read})
    assert set(read) <= set(MADE)

    mended = repair(tmp_path / "in", tmp_path / "clean", identities=ME)
    verdict = verify(tmp_path / "clean", identities=ME)
    assert verdict.segments[0].damage == []
    assert verdict.records == mended.records == len(read)
    assert list(Capture(tmp_path / "clean", ME).records()) == read


async def test_a_header_of_which_a_byte_was_changed_opens_nothing(tmp_path: Path) -> None:
    await write(tmp_path)
    path = one_file(tmp_path)
    header, frames, _ = taken_apart(path)
    fields = msgpack.unpackb(header)
    del fields["crc32c"]
    forged = codec.pack_header(codec.Header.model_validate({**fields, "redaction": {"method": "none"}}))
    put_together(path, forged, frames, None)
    assert list(Capture(tmp_path, ME).records()) == []
    damage = verify(tmp_path, identities=ME).segments[0].damage
    assert sum("is not the one that was sealed here" in line for line in damage) == len(frames)


async def test_a_flipped_bit_in_the_header_costs_nothing_while_there_is_a_footer(tmp_path: Path) -> None:
    """The header holds the only key, so the footer has a copy."""
    await write(tmp_path / "in")
    path = one_file(tmp_path / "in")
    data = bytearray(path.read_bytes())
    data[data.index(b"BEGIN AGE") + 60] ^= 1
    path.write_bytes(data)
    assert list(Capture(tmp_path / "in", ME).records()) == MADE
    assert "the header is broken" in verify(tmp_path / "in", identities=ME).segments[0].damage[0]
    for who in (ME, Identities()):
        target = tmp_path / f"clean-{bool(who)}"
        repair(tmp_path / "in", target, identities=who)
        assert verify(target).ok
        assert list(Capture(target, ME).records()) == MADE


async def test_a_copy_repaired_without_identity_reads_and_is_not_sealed(tmp_path: Path) -> None:
    await write(tmp_path / "in")
    path = one_file(tmp_path / "in")
    header, frames, _ = taken_apart(path)
    data = bytearray(path.read_bytes())
    data[len(header) + len(frames[0]) + 60] ^= 1
    path.write_bytes(data)
    before = path.read_bytes()
    repair(tmp_path / "in", tmp_path / "blind")
    repair(tmp_path / "in", tmp_path / "seeing", identities=ME)
    assert path.read_bytes() == before
    assert (verify(tmp_path / "blind").ok, verify(tmp_path / "seeing").ok) == (True, True)
    assert verify(tmp_path / "seeing", identities=ME).ok
    (damage,) = verify(tmp_path / "blind", identities=ME).segments[0].damage
    assert "the footer is not sealed" in damage
    rest = [one for one in MADE if one not in _of_block(tmp_path, frames, 1)]
    for copy in ("blind", "seeing"):
        assert list(Capture(tmp_path / copy, ME).records()) == rest


def _of_block(_: Path, frames: list[bytes], number: int) -> list[Record]:
    counts = [int.from_bytes(frame[20:24]) for frame in frames]
    start = sum(counts[:number])
    return MADE[start : start + counts[number]]


def test_what_is_made_offline_is_encrypted_too(tmp_path: Path) -> None:
    with BatchWriter(tmp_path / "out", recipients=Recipients([MINE[1]]), segment_size=10_000) as out:
        for one in MADE:
            out.write(one)
    assert list(Capture(tmp_path / "out", ME).records()) == MADE
    assert verify(tmp_path / "out", identities=ME).ok
    with pytest.raises(LockedError):
        Capture(tmp_path / "out").records()


async def test_a_hostile_header_locks_its_segment_and_is_named(tmp_path: Path) -> None:
    await write(tmp_path)
    path = one_file(tmp_path)
    _, frames, _ = taken_apart(path)
    header = Segment(path).header
    assert header is not None
    assert header.encryption is not None
    odd = header.encryption.model_copy(update={"scheme": "rot13"})
    put_together(path, codec.pack_header(header.model_copy(update={"encryption": odd})), frames, None)
    with pytest.raises(CaptureError, match="cannot be opened: it is encrypted with 'rot13'"):
        Capture(tmp_path, ME).records()
    assert verify(tmp_path, identities=ME).segments[0].unread == len(frames)


async def test_the_document_is_enough_to_open_a_block(tmp_path: Path) -> None:
    """As `docs/capture-format.md` says it, with msgpack, age and ChaCha20-Poly1305 alone."""
    await write(tmp_path)
    data = one_file(tmp_path).read_bytes()
    stream = msgpack.Unpacker(max_buffer_size=len(data))
    stream.feed(data)
    header = stream.unpack()
    length = stream.tell()
    key = pyrage.decrypt(header["encryption"]["key"].encode(), [pyrage.x25519.Identity.from_str(MINE[0])])
    _, _, _, name, _, payload = stream.unpack()
    assert name == "xcol"
    covered = b"reamp block\0" + hashlib.sha256(data[:length]).digest() + data[length : length + 29]
    content = ChaCha20Poly1305(key).decrypt(bytes(4) + payload[:8], payload[8:], covered)
    assert struct.unpack(">Q", payload[:8]) == (0,)
    assert WORDS in zstandard.decompress(content)


def test_the_environment_may_name_several_identities(tmp_path: Path) -> None:
    with BatchWriter(tmp_path / "out", recipients=Recipients([MINE[1]])) as out:
        out.write(MADE[0])
    files = [tmp_path / "stranger.txt", tmp_path / "me.txt"]
    for file, (secret, public) in zip(files, (STRANGER, MINE), strict=True):
        file.write_text(keyring.identity_file(secret, public, "now"))
    named = {"REAMP_IDENTITY": ":".join(map(str, files))}
    told = CliRunner().invoke(app, ["cat", str(tmp_path / "out")], env=named)
    assert (told.exit_code, WORDS.decode() in told.stdout) == (0, True)


def test_an_unencrypted_copy_of_what_is_encrypted_is_warned_of(tmp_path: Path) -> None:
    with BatchWriter(tmp_path / "out", recipients=Recipients([MINE[1]])) as out:
        out.write(MADE[0])
    (tmp_path / "me.txt").write_text(MINE[0])
    arguments = ["slice", str(tmp_path / "out"), "-o", str(tmp_path / "part"), "--identity", str(tmp_path / "me.txt")]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0
    assert "what is read is encrypted, and what is written is not (--encrypt-to)" in told.stderr
