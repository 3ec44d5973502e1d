"""Why an exchange ends early.

Ended
  +-- ClientGone    the client has closed its connection, or takes too long
  +-- BadRequest    the body is not what the head said
  +-- AppFailed     the app can't be reached, or answers with what is no HTTP, or not in time
"""


class Ended(Exception):  # noqa: N818 - not always an error: a client may go
    """An exchange can't be brought to its proper end. `reason` is for the flow's error and the log."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        """What to answer, if nothing has been answered yet; 0: nothing."""
        self.reason = reason


class ClientGone(Ended):
    """There is nobody left to answer, or nobody who reads it."""

    def __init__(self, reason: str = "Client disconnected.", status: int = 0) -> None:
        super().__init__(status, reason)


class BadRequest(Ended):
    """The client breaks the framing of its own body."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


class AppFailed(Ended):
    """502 or 504."""
