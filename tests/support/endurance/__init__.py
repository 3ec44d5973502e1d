"""Very many requests through a sidecar, while the app behind it dies and comes back: none lost, mixed up or done twice.

- `wording`: what a request asks for, and the only right answer to it. Both ends know it.
- `app`: a process that answers, and keeps a journal of what it has executed that must not be executed twice.
- `client`: a process that asks, on many connections, and judges every answer.
- `course`: runs them all, kills the app meanwhile, and sums up.
"""
