"""Which request is due when. From the plan's stages and the recording's times to the moment in which one is sent.

    recording -> amplification or sessions, as loud as the stage -> demand: when -> pacing: wait, send or shed

- When a run may run: `calendar`, windows of the week in the time of a place; `holidays`, days on which it may not.
  `waiting`: for a start that was announced ahead.
- `stages`: how loud a run is over time.
- `amplification`: times a factor, keeping the time axis and the bursts. `intensity`: where arrivals get denser or
  sparser, and where that is only chance.
- `sessions`: the same for whole sessions; `identity`: whose pseudonym each copy of one bears.
- `demand`: which request is due when: the recording's own times, or an echo of live traffic.
- `pacing`: a due request is waited for, sent or shed. There is no catching up.
- `alarm`: a timer finer than the event loop's.

All pure but `waiting` and `alarm`, which are edges. Of the rest of the replayer only `permission` is imported: an echo
follows what sidecars tell.
"""
