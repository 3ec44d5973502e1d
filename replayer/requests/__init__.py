"""What is sent: a record becomes the bytes of a request, or a reason why it must not be sent. Pure.

    record -> rewriting (the plan's rules) -> the user's plugin -> encoding -> the load tag, when it is sent

- `fields`: what becomes of a header field, by its name. `rewriting`: what the user wants changed of fields and paths.
- `renewal`: idempotency keys, new for every copy of a request.
- `writes`: the routes of requests that change things; only those may be sent.
- `encoding`: a record becomes the bytes to send. `hooking`: the same, with a plugin that is asked about every record.
- `tagging`: the signed mark that every request bears, renewed before it expires.

Of the rest of the replayer only `plugins` (what a plugin is) and `comparing` (which route a request belongs to) are
imported.
"""
