"""Files, tables, objects and generators to records; records to batches; what is wrong with data.

Over the 900 lines planned for it: every layout that users have is read, or refused by name and line
(folder, table, own, listing); `check` looks for faults from which training would only suffer; and
the generated sets (shapes, paint, synthetic) must be hard enough to be worth learning.
"""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.data.check import check_data as check_data
    from ninefold.data.loader import evaluation_batches as evaluation_batches
    from ninefold.data.loader import train_batches as train_batches
    from ninefold.data.open import open_data as open_data
    from ninefold.data.open import open_images as open_images
    from ninefold.data.records import DataSet as DataSet
    from ninefold.data.records import Records as Records

__getattr__, __dir__ = lazily(
    __name__,
    {
        "check_data": "check",
        "evaluation_batches": "loader",
        "train_batches": "loader",
        "open_data": "open",
        "open_images": "open",
        "DataSet": "records",
        "Records": "records",
    },
)
