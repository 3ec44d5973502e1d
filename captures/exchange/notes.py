"""What did not go across, kept while streaming: nothing is dropped in silence. Pure."""

from collections import Counter
from collections.abc import Mapping

from captures.records import Record

NAMED = 10
"""Bad entries that are named; of the rest the number is enough."""


class Notes:
    """What one file, on its way in or out, lost, left out, or could not be read.

    `lost`: what a format or a record has no place for, and how many records it concerns; the records are there.
    `skipped`: whole entries that are left out for a reason that is no mistake. `bad`: broken entries, the first few
    with their place. `said`: what else people should know.
    """

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.bad: list[str] = []
        self.bad_count = 0
        self.said: list[str] = []
        self.step_ns = 0
        """The coarsest step in which a good part of the file's times counts; 0 if it does not count in steps."""

    def lose(self, what: str, count: int = 1) -> None:
        """Count `what` as lost for `count` records."""
        self.lost[what] += count

    def skip(self, what: str) -> None:
        """Count a whole entry as left out."""
        self.skipped[what] += 1

    def broken(self, where: str, why: str) -> None:
        """Count an entry that does not read; `where` is a line, a byte or a number."""
        self.bad_count += 1
        if len(self.bad) < NAMED:
            self.bad.append(f"{where}: {why}")

    def say(self, what: str) -> None:
        """Say something once."""
        if what not in self.said:
            self.said.append(what)

    def compare(self, record: Record, back: Record, words: Mapping[str, str]) -> None:
        """Count each field of `record` that is not in `back`, which is what reading the written entry again gave.

        So a loss is measured and not declared: what a format cannot hold is counted for exactly the records that it
        concerns. `words` says for fields what is lost of them.
        """
        if record == back:
            return
        for name, before, after in zip(record._fields, record, back, strict=True):
            if before != after:
                self.lost[words.get(name, name)] += 1
