"""What is shown of a run and of a paper: figures, claims, kept measurements and their page.

Everything here takes plain records and arrays, so that the engine may draw without a circle.
"""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.report.claims import Claim as Claim
    from ninefold.report.claims import Paper as Paper
    from ninefold.report.claims import claim_named as claim_named
    from ninefold.report.claims import papers as papers
    from ninefold.report.figures import confusion_matrix as confusion_matrix
    from ninefold.report.figures import feature_map as feature_map
    from ninefold.report.figures import learning_curves as learning_curves
    from ninefold.report.figures import per_class as per_class
    from ninefold.report.measured import Measurement as Measurement
    from ninefold.report.measured import papers_table as papers_table
    from ninefold.report.measured import write_page as write_page
    from ninefold.report.sheet import image_sheet as image_sheet
    from ninefold.report.statistics import Summary as Summary
    from ninefold.report.statistics import summarise as summarise
    from ninefold.report.statistics import verdict as verdict

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Claim": "claims",
        "Paper": "claims",
        "claim_named": "claims",
        "papers": "claims",
        "confusion_matrix": "figures",
        "feature_map": "figures",
        "image_sheet": "sheet",
        "learning_curves": "figures",
        "per_class": "figures",
        "Measurement": "measured",
        "papers_table": "measured",
        "write_page": "measured",
        "Summary": "statistics",
        "summarise": "statistics",
        "verdict": "statistics",
    },
)
