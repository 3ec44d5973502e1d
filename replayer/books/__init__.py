"""What a run writes down: its folder, line by line while it lasts, and its report at the end.

- `report`: what came of a run: the model behind `report.json`, and the verdict. Pure.
- `journal`: what stands in a run's journal. Pure.
- `folder`: plan, journal, histograms and report on the disk.
- `chronicle`: writes down each second, and each route when its time has come.

What people and CI read is made of them in `replayer.reporting`.
"""
