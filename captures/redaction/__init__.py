"""Secrets out, pseudonyms in, before a record is packed.

Equal secrets get equal pseudonyms under one key, so sessions stay joinable; without the key nothing leads back, and
the key lives outside the recordings so that a leaked capture cannot be tried against guessed values.

    redactor       a record in, the same record without secrets out
      headers      by name; cookies by their names; the others by their looks
      bodies       what is this body?  ->  encodings   out of its wrapping, and back into it
        multipart  parts, by their names and by what they are
        forms      forms, queries, paths
        scanner    any text: JSON, encoded, or no grammar at all
          structured   JSON, with nothing else changed in it
    rules          what is secret: built in, and from a file
      names        by its name
      patterns     by its looks
    pseudonyms     what stands in its place
    edits          changes to a text that leave the rest as it is, byte for byte
    keys           the file with the key

Pure but for `keys` and `rules.load_rules`.
"""

from captures.redaction.headers import without_userinfo
from captures.redaction.keys import load_key
from captures.redaction.names import HEADERS as DEFAULT
from captures.redaction.pseudonyms import KEY_SIZE, PREFIX
from captures.redaction.redactor import Redactor
from captures.redaction.rules import DEFAULTS, Rules, load_rules

__all__ = [
    "DEFAULT",
    "DEFAULTS",
    "KEY_SIZE",
    "PREFIX",
    "Redactor",
    "Rules",
    "load_key",
    "load_rules",
    "without_userinfo",
]
