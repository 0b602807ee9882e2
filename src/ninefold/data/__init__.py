"""Files, tables, objects and generators to records; records to batches; what is wrong with data.

Over the 900 lines planned for it: every layout that users have is read, or refused by name and line
(folder, table, own, listing); `check` looks for faults from which training would only suffer; and
the generated sets (shapes, paint, synthetic) must be hard enough to be worth learning.
"""
