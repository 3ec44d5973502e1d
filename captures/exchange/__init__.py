"""Captures from and to elsewhere: the files of other tools.

A format is a module that reads a file as a stream of records, and writes one from such a stream where that makes sense:

- `har`: HAR 1.2, as browsers and proxies write it.
- `goreplay`: GoReplay's text files. `http1` is the wire form of the messages in them.
- `vegeta`: vegeta's targets. `curl`: curl commands, cut into words by `shell`.
- `accesslog`: what servers log, in the formats that `logformats` compiles. `table`: CSV, read as a log is.
- `k6`, `locust`, `artillery` and `attack` (for vegeta): scripts that send the same `mix` of requests at the same rates
  over time; `schedule` says which one is the n-th, and `scripts` is what they have in common.
- `jsonlines`: everything that a record has, as JSON.

`formats` is the list of them all and guesses which one a file is in; `options` is what they have to be told, and
`streams` gives them a file in bounded pieces, unpacked. What a format has no place for, what was left out and what did
not read, `notes` collects while the records stream by. `intake` takes whole files in: redacted, into a capture.

mitmproxy's own flow files are read and written by `addons.flowfiles`, since only `addons` may import mitmproxy.
"""
