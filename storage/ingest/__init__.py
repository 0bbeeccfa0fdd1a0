"""Objects on their way in: staged, encrypted, inspected, signed and synced, before anything is committed.

`intake` is the work itself; `here` does it in the thread that asks, `pool` in processes of its own, which
`nursery` forks, `worker` runs and `lane` speaks to in the words of `messages`. Both sides of that choice are
`storage.ports.Intakes`, with one contract suite.
"""
