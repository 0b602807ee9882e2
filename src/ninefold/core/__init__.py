"""The words that all rooms share: configurations, batches, records, errors and weights files."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.core.batch import Batch as Batch
    from ninefold.core.batch import Boxes as Boxes
    from ninefold.core.batch import Sample as Sample
    from ninefold.core.config import Config as Config
    from ninefold.core.errors import Failed as Failed
    from ninefold.core.errors import Refused as Refused
    from ninefold.core.errors import Stopped as Stopped
    from ninefold.core.labels import labels_for as labels_for
    from ninefold.core.labels import row_map as row_map
    from ninefold.core.preprocess import Preprocess as Preprocess
    from ninefold.core.results import Result as Result
    from ninefold.core.weights import WeightsFile as WeightsFile
    from ninefold.core.weights import read_weights as read_weights
    from ninefold.core.weights import write_weights as write_weights

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Batch": "batch",
        "Boxes": "batch",
        "Sample": "batch",
        "Config": "config",
        "Failed": "errors",
        "Refused": "errors",
        "Stopped": "errors",
        "labels_for": "labels",
        "row_map": "labels",
        "Preprocess": "preprocess",
        "Result": "results",
        "WeightsFile": "weights",
        "read_weights": "weights",
        "write_weights": "weights",
    },
)
