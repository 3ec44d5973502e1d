"""The lever: the latching stop. Once pulled, no synthetic request passes until somebody resets it.

- `latch`: the lever itself, in the books and on the disk, so that it holds over a restart.
- It is pulled over the control port, by a signal (`stopsignal`) and by a file that appears (`leverfile`).
- `people`: who of this machine did, where they can't say so themselves.

Nothing here imports mitmproxy.
"""
