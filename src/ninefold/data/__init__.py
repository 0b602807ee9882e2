"""Files, tables, objects and generators to records; records to batches; what is wrong with data.

Over the 900 lines planned for it: every layout that users have is refused or read by name and line
(folder, table, own, listing), `check` looks for faults that training would only suffer from, and the
generated sets (shapes, paint, synthetic) must be hard enough to learn from.
"""
