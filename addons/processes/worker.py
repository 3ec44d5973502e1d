"""One worker: ``python -m addons.processes.worker``, started by the supervisor and by nobody else.

It is told what to do on stdin and answers on stdout (`orders`). When stdin ends, the supervisor is gone, and with it
the control port and the hand on the lever: from then on no synthetic request passes, and real ones go on until somebody
else is in charge of the port (`holding`).
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    from addons.internals.slimming import slim

    slim()  # before anything imports mitmproxy

import asyncio
import logging
import sys
import time
from pathlib import Path

from addons.books import BEAT, Books, Row
from addons.chain import Chain, worker_chain
from addons.embedded.sidecar import Sidecar
from addons.internals.loop import new_event_loop
from addons.processes.doors import Doors
from addons.processes.ear import Ear
from addons.processes.holding import taken_over
from addons.processes.orders import Assignment, Report
from rules.exits import Exit, UserError, leave

logger = logging.getLogger(__name__)

SWITCH = 0.0005
"""Seconds that a thread may keep the interpreter to itself while another waits. Python's 5 ms are a long time for a
request that comes while the threads of the capture log compress, write and remove."""


def main() -> None:
    """Run one worker and exit with the code that fits."""
    sys.setswitchinterval(SWITCH)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        code = runner.run(work())
    leave(code)


async def work() -> int:
    """Serve until told to end, and give the exit code."""
    ear = await Ear.begin()
    if not (line := await ear.first()):
        return Exit.FAILED
    assignment = Assignment.model_validate_json(line)
    _log(assignment)

    books = Books.attach(assignment.books)
    row = books.rows[assignment.row]
    made = worker_chain(books, row, assignment.shares, assignment.row)
    doors = Doors(assignment.posts, assignment.post)
    running: list[asyncio.Task[None]] = []

    def started() -> None:
        # Only now: until it serves there is nothing that has to end in order.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sidecar.end)
        obeying = asyncio.create_task(_obey(ear, sidecar, made, doors, assignment))
        obeying.add_done_callback(_tell_fault)
        running.append(obeying)
        running.append(asyncio.create_task(_beat(row)))
        ear.report(_ready(made))

    try:
        sidecar = Sidecar(made, doors, assignment.options, started)
        await sidecar.run()
    except UserError as error:
        ear.report(Report(error=str(error)))
        return error.code
    finally:
        for task in running:
            task.cancel()
    return Exit.DONE


def _ready(made: Chain) -> Report:
    writer = made.capture.writer.name if made.capture.writer else ""
    return Report(ready=True, writer=writer, unread=made.tag.unread)


async def _obey(ear: Ear, sidecar: Sidecar, made: Chain, doors: Doors, assignment: Assignment) -> None:
    """Do what the supervisor says, as long as there is one."""
    async for order in ear.orders():
        try:
            if order.do == "retire":
                sidecar.retire()
            else:
                await doors.attend(order.at)
        except Exception:  # the next one may go well
            logger.exception("An order could not be followed")
    made.guard.orphaned = True
    logger.warning("The supervisor is gone: no synthetic request passes any more; real users are served on")
    doors.forget_others()
    await taken_over(Path(assignment.holding), assignment.in_charge)
    logger.warning("Another sidecar has taken over: this worker retires")
    sidecar.retire()


def _tell_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("No orders are followed any more", exc_info=error)


async def _beat(row: Row) -> None:
    """Give signs of life."""
    while True:
        row.beat_ns = time.monotonic_ns()
        await asyncio.sleep(BEAT)


def _log(assignment: Assignment) -> None:
    who = f"worker {assignment.post + 1}: " if len(assignment.posts) > 1 else ""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s {who}%(message)s")
    # One line for each connection is noise on a busy proxy; what is ours, and everybody's warnings, stay.
    for name in ("mitmproxy", "hpack", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
