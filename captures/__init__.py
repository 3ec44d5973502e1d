"""The capture log: what was recorded, on its way to the disk and back.

Data flows down on the left, when recording, and up on the right, when reading:

    records      one request with the outline of its answer                        records
    accounting   where every request went                                          verify      is all of it there?
    sampling     whose requests are recorded; `bodies`: how much of each
    redaction    secrets out, pseudonyms in                                        reader      streams, by arrival
    writer       blocks, queue, rotation, what happens when the disk fails         codec       bytes <-> values
    codec        payloads, frames, header and footer                               sealing     out of the lock
    columns      what is in a block                                                columns     (`rows`: in version 1)
    sealing      blocks under lock and key, if they are to be                      segments    names and files
    segments     names and files
    worker       the thread that compresses and writes
    keeper       what is old goes, by what `retention` decides

Offline, `batch` writes a whole capture in one go: slices, merges, imports; `lineage` says what it was made of.
`keyring` says who may read what is sealed.

Beside the flow stand what people look at: `endpoints` (which ones carry the load; `templates` finds them), `summary`
(all of it in figures: `bursts`, `sessions`, each `distribution`), `rates` (a picture over time), `rendering` (a record
as HTTP or curl; `unpacking` opens its body), `moments` (times in words). `errors` says what can be wrong.
`audit` hunts for what looks like a secret. `exchange` reads and writes the files of other tools.
`repair` copies what reads of a damaged capture, into `folders` that are seen by nobody before they are whole.
`bounds` limits what unpacking may cost. `undumped` keeps keys out of core dumps.
`gaps` finds where a capture is silent, `diagnosis` names broken and foreign files.

Pure are `accounting`, `audit`, `bodies`, `bursts`, `codec`, `columns`, `diagnosis`, `distribution`, `endpoints`,
`gaps`, `moments`, `rates`, `records`, `redaction` (but for its files), `rendering`, `retention`, `rows`, `sampling`,
`sealing`, `sessions`, `summary`, `templates` and `unpacking`. The format is described in `docs/capture-format.md`.

May import `rules`; never `reamp`, `addons`, `replayer` or mitmproxy.
"""
