"""Pages that need no network and let nothing in: one file, with the library of its charts inside.

Everything that strangers made (paths, reasons, what a sidecar said) is escaped by the template, and reaches the charts
as data. Beyond that a page's own policy (Content-Security-Policy) forbids every connection, and every script but its
own two, which it knows by their hashes. Charts are drawn by plotly.js as its PyPI package ships it, which travels
compressed.
"""

import base64
import gzip
import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

_SHARED = files("replayer.reporting") / "shared"


class Offline:
    """Draws pages from a folder with `template.html`, `style.css` and `script.js`; `filters` are the template's own.

    The last two come after what all pages have: colours, and a table of routes that can be sorted and looked through.
    """

    def __init__(self, folder: Traversable, filters: dict[str, Callable[..., str]]) -> None:
        def own(name: str) -> str:
            return (folder / name).read_text(encoding="utf-8")

        def shared(name: str) -> str:
            return (_SHARED / name).read_text(encoding="utf-8")

        environment = Environment(
            loader=FunctionLoader(own), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters |= filters
        self._template = environment.get_template("template.html")
        self._style = shared("base.css") + own("style.css")
        self._script = shared("base.js") + own("script.js")

    def draw(self, **values: Any) -> str:
        """Draw a page. `values` are what its template shows; `data`, as JSON, is what its script draws."""
        library, digest = _library()
        return self._template.render(
            policy=_policy(self._script, digest),
            style=Markup(self._style),  # noqa: S704 - our own file
            script=Markup(self._script),  # noqa: S704
            library=Markup(library),  # noqa: S704 - base64
            **values,
        )


@cache
def _library() -> tuple[str, str]:
    """Give plotly.js, compressed, and the hash by which the page's policy knows it."""
    code = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    # Level 9 takes twice as long and saves 1%.
    return base64.b64encode(gzip.compress(code, 5, mtime=0)).decode(), _hash(code)


def _hash(code: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code).digest()).decode()}'"


def _policy(script: str, library: str) -> str:
    return (
        f"default-src 'none'; script-src {_hash(script.encode())} {library}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
