"""The egress: the app's outgoing proxy, which tells whose calls are made for synthetic requests, and tags them.

It is an aide with a mitmproxy master of its own, so that no call can ever earn credit, be recorded, or be counted as a
user. What the workers have learnt of traces (`addons.learning`, `addons.traces`) lies in memory that it shares.

A call meets, in this order:

- `destinations`: where it may not go (loops, the control port), where names of the app's own go, and which tunnels are
  looked into. Pure.
- `tunnels`: the add-on that obeys that, and what is put where mitmproxy asks which protocol comes next.
- `attribution`: whose call it is, of what its headers and its trace say. Pure.
- `calls`: the add-on that attributes it, and the one that tags it, passes it on and counts it; add-ons in between find
  what is known in `marks`.
- `thirdparties`: the add-on in between, for synthetic calls that would leave the trust boundary (`addons.parties` has
  their rules).

`serving` is the process and puts the chain together, `carrier` runs it, `annex` is what the supervisor holds for it,
and `naming` what the two have in common.
"""
