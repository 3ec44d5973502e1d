"""From whatever is left of an incident to its file.

- `wanted`: what was asked for, whatever the source is.
- `kinds`: which kinds of sources there are, and of which one a file is.
- `taking`: finds the kind of what was given, and has it write the incident. Edge.
- `captured`: captures, and incidents that were taken before. Edge.
- `foreign`: files of other tools that know each request: access logs, HAR, CSV of URLs and times. Edge.
- `beside`: a hidden folder beside the incident, for what has to be kept meanwhile. Edge.
- `window`: which time of a capture is the incident: as it was said, or around the peak. Pure.
- `peak`: where rate and errors are worst, by counts in intervals. Pure.
- `missing`: what a capture lacks of that time: gaps, and requests that were dropped. Pure.
- `course`: these counts, as one pass over records in bounded memory. Pure.
- `rates`: what sources know that tell rates only: routes by grains of time, and the traffic outside of them. Pure.
- `upsun`, `prometheus`, `counts`: these sources; a table of URLs and counts is the last one. Pure.
- `documents`: JSON that strangers may have made. Pure.
- `rated`: draws an incident from rates, filled from examples or tables. Edge.

A kind takes files, what is wanted and where to write; it writes an incident's file and gives its story. It raises
UserError for all that the user can put right.
"""
