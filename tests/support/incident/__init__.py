"""A shop that goes down as real ones do: under some requests of many, by a fault that an ordinary day does not show.

- `setting`: what a shop is told when it starts: which fault it has, whether that is fixed, how many products it sells.
- `stock`: its database, SQLite: as large as a real shop's, or nearly empty.
- `catalogue`: its shelves, by an object mapper.
- `app`: the shop, with the faults in the code of its pages. It writes an access log as nginx does.
- `mix`: which pages users ask for, how often, and how that changes when the incident comes.
- `users`: sends it, by the clock: who waits for an answer makes nobody else wait.
- `site`: starts shops, each with a database of its own, has an incident recorded by a real sidecar.
- `drilling`: what is left of the incident as three sources, and drills on clones.
"""
