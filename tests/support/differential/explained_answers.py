"""The same table for what apps answer."""

from tests.support.differential.explained import FAST, FULL, Explained

GROUPS = ("then kept", "then closed", "cut short")

_TAKEN_FOR_FINAL = "A 1xx is passed on, and the answer after it. nginx takes it for the answer, and waits for its end."
_LEFT_OUT = "The full lane leaves out a 1xx that nobody asked for: mitmproxy would take it for the answer too."
_TOLD_TWICE = "An answer whose length is told twice or oddly is not trusted; nginx picks one, or reads until the end."
_NO_FIELD = "nginx passes on what is no field, or drops it."
_ENDS_TOO = "The same. After an answer that is none, mitmproxy ends the client's connection too."

EXPLAINED_ANSWERS = (
    # --- 1xx
    Explained("then kept", ("100 Continue first",), "100+200; silent", "100+200; kept", _TAKEN_FOR_FINAL, lanes=FAST),
    Explained("then kept", ("102 first",), "102+200; silent", "102+200; kept", "The same.", lanes=FAST),
    Explained("then kept", ("103 first",), "103+200; silent", "103+200; kept", "The same.", lanes=FAST),
    Explained(
        "then kept", ("three 1xx first",), "100+100+100+200; silent", "100+100+100+200; kept", "The same.", lanes=FAST
    ),
    Explained(
        "then kept",
        ("1xx with a length", "HEAD after 103"),
        "nothing; silent",
        "103+200; kept",
        "The same.",
        lanes=FAST,
    ),
    Explained("then closed", ("only a 1xx",), "nothing; silent", "103+502; kept", "The same.", lanes=FAST),
    Explained("cut short", ("reset after a 1xx",), "nothing; closed", "103+502; kept", "The same.", lanes=FAST),
    Explained("then kept", ("100 Continue first",), "100+200; silent", "200; kept", _LEFT_OUT, lanes=FULL),
    Explained("then kept", ("102 first",), "102+200; silent", "200; kept", "The same.", lanes=FULL),
    Explained("then kept", ("103 first",), "103+200; silent", "200; kept", "The same.", lanes=FULL),
    Explained("then kept", ("three 1xx first",), "100+100+100+200; silent", "200; kept", "The same.", lanes=FULL),
    Explained(
        "then kept", ("1xx with a length", "HEAD after 103"), "nothing; silent", "200; kept", "The same.", lanes=FULL
    ),
    Explained(
        "then kept", ("100 Continue, the client waits",), "100+413; closed", "413; closed", "The same.", lanes=FULL
    ),
    Explained("then closed", ("only a 1xx",), "nothing; silent", "502; closed", "The same.", lanes=FULL),
    Explained("cut short", ("reset after a 1xx",), "nothing; closed", "502; closed", "The same.", lanes=FULL),
    Explained(
        "then kept",
        ("101 that nobody asked for",),
        "101; silent",
        "502; kept",
        "A protocol that nobody asked for is not spoken.",
        lanes=FAST,
    ),
    Explained("then kept", ("101 that nobody asked for",), "101; silent", "101; closed", "The same.", lanes=FULL),
    # --- answers that nginx makes sense of
    Explained(
        "then kept",
        (
            *("coding and length", "length and coding", "length with a leading zero", "chunked with bare LF"),
            "HEAD with both framings",
        ),
        "200; kept",
        "502; kept",
        _TOLD_TWICE,
        lanes=FAST,
    ),
    Explained(
        "then closed",
        (
            *("1.0 chunked", "unknown coding", "chunked twice", "different lengths", "different lengths in a list"),
            *("length is a word", "length is negative", "length with a plus", "length is empty"),
        ),
        "200; kept",
        "502; kept",
        "The same.",
        lanes=FAST,
    ),
    Explained(
        "then kept",
        ("coding and length", "length and coding", "length with a leading zero", "equal lengths"),
        "200; kept",
        "502; closed",
        "The same; the full lane does not even trust the same length twice.",
        lanes=FULL,
    ),
    Explained(
        "then closed",
        (
            *("1.0 chunked", "unknown coding", "chunked twice", "different lengths", "different lengths in a list"),
            *("length is a word", "length is negative", "length with a plus", "length is empty"),
        ),
        "200; kept",
        "502; closed",
        "The same.",
        lanes=FULL,
    ),
    Explained(
        "then kept",
        ("a field without colon", "a field with brackets"),
        "200; kept",
        "502; kept",
        _NO_FIELD,
        lanes=FAST,
    ),
    Explained(
        "then kept",
        ("a field without colon", "a field with brackets"),
        "200; kept",
        "502; closed",
        _NO_FIELD,
        lanes=FULL,
    ),
    Explained("then kept", ("204 chunked",), "204; kept", "502; kept", "RFC 9112 forbids it.", lanes=FAST),
    Explained("then kept", ("204 chunked",), "204; kept", "502; closed", "The same.", lanes=FULL),
    Explained(
        "then closed",
        ("huge length",),
        "200; kept",
        "200 cut short; closed",
        "The head is passed on as it is; nginx leaves out a length that it can't count.",
    ),
    Explained(
        "then closed",
        ("until close", "until close, 1.0", "until close, 200 KiB", "until close, empty", "identity until close"),
        "200; kept",
        "200; closed",
        "The client's connection ends with the app's; nginx frames such answers anew and keeps its own.",
    ),
    Explained(
        "then closed",
        ("Connection: close", "Connection: close chunked", "1.0", "HEAD, closed", "gzip coding"),
        "200; kept",
        "200; closed",
        "The same; the fast lane keeps the client's connection if it can tell where the answer ends.",
        lanes=FULL,
    ),
    Explained(
        "then kept",
        ("chunked with bare LF",),
        "200; kept",
        "nothing; silent",
        "h11 waits for the CRLF at the end of a chunk's size.",
        lanes=FULL,
    ),
    # --- answers that nginx refuses
    Explained(
        "then kept",
        ("folded field", "a NUL in a value", "a bare CR in a value"),
        "502; kept",
        "200; kept",
        "What an app has always sent must not stop working because a sidecar stands before it.",
    ),
    Explained("then closed", ("100 KiB head", "300 KiB head"), "502; kept", "200; kept", "nginx has small buffers."),
    Explained(
        "then closed",
        ("noise", "ICY", "small letters", "a blank line first", "status is a word"),
        "noise; silent",
        "502; kept",
        "nginx takes it for HTTP/0.9 and passes it on.",
        lanes=FAST,
    ),
    Explained("then closed", ("HTTP/0.9",), "nothing; silent", "502; kept", "The same.", lanes=FAST),
    Explained("then kept", ("equal lengths in a list",), "nothing; silent", "502; kept", _TOLD_TWICE, lanes=FAST),
    Explained(
        "then closed",
        ("noise", "ICY", "small letters", "a blank line first", "status is a word"),
        "noise; silent",
        "502; closed",
        _ENDS_TOO,
        lanes=FULL,
    ),
    Explained("then closed", ("HTTP/0.9",), "nothing; silent", "502; closed", "The same.", lanes=FULL),
    Explained("then kept", ("equal lengths in a list",), "nothing; silent", "502; closed", "The same.", lanes=FULL),
    Explained(
        "then kept",
        ("a field with a blank before the colon", "length with a blank before the colon", "POST, reset"),
        "502; kept",
        "502; closed",
        "The same.",
        lanes=FULL,
    ),
    Explained(
        "then closed",
        ("a NUL in a name", "nothing", "half a head", "POST, nothing"),
        "502; kept",
        "502; closed",
        "The same.",
        lanes=FULL,
    ),
    Explained("cut short", ("reset at once",), "502; kept", "502; closed", "The same.", lanes=FULL),
    # --- versions and statuses that do not exist
    Explained("then closed", ("1.2",), "200; kept", "noise; closed", "The version is passed on as it is.", lanes=FULL),
    Explained("then closed", ("status 099",), "nothing; silent", "noise; silent", "Passed on as a number."),
    # --- bodies where there may be none
    Explained(
        "then kept",
        ("304 chunked",),
        "304; kept",
        "noise; silent",
        "mitmproxy ends it with a last chunk, though it has no body.",
        lanes=FULL,
    ),
    Explained(
        "then kept",
        ("HEAD with both framings",),
        "200; kept",
        "noise; closed",
        "Not trusted; mitmproxy gives its own answer a body, even to HEAD, but ends the connection with it.",
        lanes=FULL,
    ),
    Explained("then closed", ("HEAD nothing",), "502; kept", "noise; closed", "The same.", lanes=FULL),
    # --- answers that end too soon
    Explained(
        "cut short",
        ("short body", "short body, reset", "no body at all"),
        "200 cut short; closed",
        "502; kept",
        "A short body is read to its end before any of it is passed on, so the client can be told.",
        lanes=FAST,
    ),
    Explained(
        "cut short",
        ("short body", "short body, reset", "no body at all"),
        "200 cut short; closed",
        "502; closed",
        "The same.",
        lanes=FULL,
    ),
    Explained(
        "cut short",
        ("chunked, bad size", "chunked, size too small", "chunked, huge size"),
        "nothing; closed",
        "502; kept",
        "Found before any of it was passed on.",
        lanes=FAST,
    ),
    Explained(
        "cut short",
        ("chunked, bad size", "chunked, size too small", "chunked, huge size"),
        "nothing; closed",
        "200 cut short; closed",
        "What was right of it has been passed on.",
        lanes=FULL,
    ),
)
