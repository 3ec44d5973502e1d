"""Hostile segments against the reader: `python -m tests.support.fuzzing --segments 200000 --seed 1`.

`mutations` makes them, `trial` sends one through all that reads segments, `__main__` does so very often, in processes
whose memory is bounded.
"""
