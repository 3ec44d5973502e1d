"""Third parties: what a synthetic call gets that would leave the trust boundary. None of this imports mitmproxy.

Read in this order:

- `places`: hosts and paths, written as patterns, and as they stand in a call; what lies inside. Pure.
- `rule`: what the owner wrote: pass, block or stub, by host, path and method. Pure, but for looking at files.
- `choice`: which rule a call falls under, and what is done where that is not certain. Pure.
- `drawing`: how long a stub takes, whether it fails, and ids that look like theirs. Pure: randomness comes in.
- `asked`: a request as templates see it; `sandbox`: what templates may do, within bounds; `template`: answers made of
  both. Pure.
- `standin`: the answers of all rules, and the memory that gives one idempotency key one answer.
- `policy`: all of it as one value, from the settings to the process that goes by it.

`addons.egress.thirdparties` is the add-on that uses them. Whatever is not certain of a synthetic call ends it here.
"""
