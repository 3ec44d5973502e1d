"""Captures from and to elsewhere: other tools' files.

- `notes`: what was lost, left out or broken on the way, counted while it streams.

May import what `captures` may: never `reamp`, `addons`, `replayer` or mitmproxy (mitmproxy's own flow files are read
and written by `addons.flowfiles`).
"""
