"""The load tag: tells synthetic load-test requests from real ones, anywhere behind the entry.

Read in this order:

- `tag`: what a load tag says and how it is written as a token. Pure text, no cryptography.
- `validity`: what a key is good for, and which keys and runs were revoked. Pure text and pure time.
- `signing`: `Signer` makes tokens, `Verifier` judges them. The time comes in as an argument.
- `headers`: finding, removing and adding the tag in raw header fields, beside the baggage that is there.
- `context`: what is being served, for whoever asks: `is_load_test()`, `current_run()`; and `serve`, which sets it.
- `propagation`: `extract` takes the tag from any carrier, `inject` puts it on any. What all below is made of.
- `outgoing`: where the tag may go: `keep_inside("*.internal")`. `faults`: faults of ours are told, and not raised.
- `concurrency`: what is served, in threads and executors too.
- `asgi` and `wsgi`: middleware that fills the context. Import the one that the app needs.
- `integrations`: hooks into HTTP clients, gRPC, queues and frameworks; one module each, see its own map.
- `acting`: doing nothing for load, `noop_when_load_test`, and `metric_label`. `logs`: the run's id in log lines.
- `records`: how records that load made are known again: by the names of made-up people, and by a stamp.
- `opentelemetry`, `opentelemetry_sdk`: the tag in OpenTelemetry's context, baggage and propagators; and on its spans.
- `sqlalchemy`, `django`: rows that load made bear a stamp, are left out of what counts users, and cleaned up.
- `keys`: key files. The only module that touches the disk.

Nothing here has a dependency. `cryptography` (the extra ``loadtag[keys]``) is imported when a key is used and not
before, so an app behind a sidecar, which only asks `is_load_test()`, never loads it; nor does it load `re` or `typing`
for `import loadtag`, which takes a few milliseconds. A library or a framework is imported in the module named for it
and nowhere else, and none of them may import the rest of this repository.
"""

from __future__ import annotations

from loadtag.context import Dark, Served, current_run, current_tag, current_token, is_dark, is_load_test, serve
from loadtag.outgoing import goes_to, keep_inside
from loadtag.propagation import extract, inject, injected

TYPE_CHECKING = False  # as `typing` has it, which takes longer to load than all of this
if TYPE_CHECKING:
    from typing import Any

    from loadtag.acting import metric_label, noop_when_load_test
    from loadtag.concurrency import carry
    from loadtag.logs import LoadTagFilter
    from loadtag.records import is_synthetic, recognise, synthetic_email, synthetic_username
    from loadtag.signing import PublicKey, Signer, Verifier
    from loadtag.tag import LoadTag, Parsed, TagError, format_token, parse
    from loadtag.validity import Revoked, Validity

__all__ = [
    "Dark",
    "LoadTag",
    "LoadTagFilter",
    "Parsed",
    "PublicKey",
    "Revoked",
    "Served",
    "Signer",
    "TagError",
    "Validity",
    "Verifier",
    "carry",
    "current_run",
    "current_tag",
    "current_token",
    "extract",
    "format_token",
    "goes_to",
    "inject",
    "injected",
    "is_dark",
    "is_load_test",
    "is_synthetic",
    "keep_inside",
    "metric_label",
    "noop_when_load_test",
    "parse",
    "recognise",
    "serve",
    "synthetic_email",
    "synthetic_username",
]

_LATER = {
    "loadtag.acting": ("metric_label", "noop_when_load_test"),
    "loadtag.logs": ("LoadTagFilter",),
    "loadtag.records": ("is_synthetic", "recognise", "synthetic_email", "synthetic_username"),
    "loadtag.concurrency": ("carry",),
    "loadtag.signing": ("PublicKey", "Signer", "Verifier"),
    "loadtag.tag": ("LoadTag", "Parsed", "TagError", "format_token", "parse"),
    "loadtag.validity": ("Revoked", "Validity"),
}
"""Loaded when they are asked for. Most apps need few of these, and none needs them all."""


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            from importlib import import_module  # noqa: PLC0415 - as above

            found = getattr(import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
