"""The picture of the run in the terminal: real and extra rate over time against the ceiling."""

import plotext

from reamp.demo.promises import SECOND, Evidence, between


def draw(seen: Evidence, width: int, *, colour: bool) -> str:
    """Draw it, as text of at most `width` columns."""
    began, ended = seen.real[0], seen.real[-1]
    step = SECOND // 2
    moments = range(began + SECOND, ended, step)
    seconds = [(at - began) / SECOND for at in moments]
    real = [between(seen.real, at - SECOND, at) for at in moments]
    ceiling = [count * seen.ceiling / 1e6 for count in real]
    extra = [between(seen.extra, at - SECOND, at) for at in moments]
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plotsize(min(width, 110), 22)
    plotext.canvas_color("default")  # the terminal's own background, dark or light
    plotext.axes_color("default")
    plotext.ticks_color("default")
    plotext.plot(seconds, extra, label="extra (synthetic)", marker="hd", color="green+", fillx=True)
    plotext.plot(seconds, real, label="real, requests/s", marker="braille", color="blue+")
    plotext.plot(seconds, ceiling, label=f"ceiling ({seen.ceiling} of real)", marker="braille", color="red+")
    for at, label in ((seen.replay_began_ns, "replay"), (seen.cut_ns, "cut"), (seen.lever_ns, "lever")):
        plotext.vline((at - began) / SECOND, color="gray")
        plotext.text(label, (at - began) / SECOND + 0.3, max(real) * 0.8, color="gray")
    plotext.ylim(0, max(real) * 1.1)
    plotext.xlabel("seconds")
    built: str = plotext.build()
    return built if colour else plotext.uncolorize(built)
