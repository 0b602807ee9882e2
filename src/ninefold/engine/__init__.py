"""Training, evaluation, checkpoints, opened runs; the only home of Fabric.

`loop.fit` is the loop, whole; `update` the part of it that recipes exchange; `hooks` what happens
after a step; `train` and `build` put them together from a `Run`; `opened` puts the result to use.

Larger than was planned (600 lines), since what a run survives stands here: checkpoints that are
whole or not there, signals, logs that are cut to the step, runs that go on to the bit and refuse
what changed, ranks that agree, full disks, losses that are not finite, memory that runs out.
"""
