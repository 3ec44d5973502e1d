"""The load tag: tells synthetic load-test requests from real ones, anywhere behind the entry.

Read in this order:

- `tag`: what a load tag says and how it is written as a token. Pure text, no cryptography.
- `signing`: `Signer` makes tokens, `Verifier` judges them. The time comes in as an argument.
- `headers`: finding, removing and adding the tag in raw header fields, beside the baggage that is there.
- `context`: the tag of the request being served, for whoever asks: `is_load_test()`, `current_run()`.
- `asgi` and `wsgi`: middleware that fills that context. Import the one that the app needs.
- `keys`: key files. The only module that touches the disk.

Nothing here has a dependency. `cryptography` (the extra ``loadtag[keys]``) is imported when a key is used and not
before, so an app behind a sidecar, which only asks `is_load_test()`, never loads it. No module imports an HTTP
library or a framework, and none may import the rest of this repository.
"""

from loadtag.context import current_run, current_tag, is_load_test
from loadtag.signing import PublicKey, Signer, Verifier
from loadtag.tag import LoadTag, Parsed, TagError, format_token, parse

__all__ = [
    "LoadTag",
    "Parsed",
    "PublicKey",
    "Signer",
    "TagError",
    "Verifier",
    "current_run",
    "current_tag",
    "format_token",
    "is_load_test",
    "parse",
]
