"""What listens to a streamed body on its way: passes it through, counts it and keeps its beginning."""

from collections.abc import Callable


class Streamed:
    """mitmproxy calls it with each piece, in either lane. Several add-ons share one: a body has room for no second."""

    __slots__ = ("also", "keep", "kept", "size")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        """Bytes to keep. Who wants more may raise it before the first piece; who wants less takes less of `kept`."""
        self.kept = bytearray()
        self.size = 0
        self.also: Callable[[bytes], None] | None = None
        """Told of each piece. It must not raise."""

    def __call__(self, piece: bytes) -> bytes:
        """Pass a piece on."""
        self.size += len(piece)
        room = self.keep - len(self.kept)
        if room > 0:
            self.kept += piece[:room]
        if self.also is not None:
            self.also(piece)
        return piece
