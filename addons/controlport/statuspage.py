"""The page of the control port: one file, whole in itself, and a policy that lets nothing else run in it."""

import base64
import hashlib
from functools import cache
from pathlib import Path

_PARTS = Path(__file__).with_name("page")


@cache
def page() -> tuple[bytes, dict[str, str]]:
    """Give the page and the header fields to send with it. It holds no figures: it asks for them, as any client."""
    style, script = (_PARTS / "style.css").read_text(), (_PARTS / "script.js").read_text()
    html = (_PARTS / "page.html").read_text()
    html = html.replace("/* style.css */", style).replace("/* script.js */", script)
    policy = (
        f"default-src 'none'; script-src {_only(script)}; style-src {_only(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }
    return html.encode(), headers


def _only(text: str) -> str:
    """Name one inline block by its hash (CSP Level 3, 6.7.3.3): no other one runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
