"""The report: one self-contained page that shows a study's record, in English and Chinese.

The room shows and never computes: every number on the page is a field of `tunelab.records.StudyRecord`,
rounded, and names that field in a `data-source` attribute.
"""

from tunelab.report.locales import language_names
from tunelab.report.page import render, write_report
from tunelab.report.wording import advice_text, augmentation_text, warnings_text

__all__ = [
    "advice_text",
    "augmentation_text",
    "language_names",
    "render",
    "warnings_text",
    "write_report",
]
