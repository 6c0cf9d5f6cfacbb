"""tunelab: which way of fine-tuning a pretrained model is best for *your* data and *your* budget?

import tunelab

study = tunelab.compare("reviews.csv")          # every method tuned alike, what differs, what to take
specialist = tunelab.load(study.bundle)
specialist.predict(["It broke after a day."])
"""

from tunelab import errors
from tunelab.api import Run, advise, check, compare, load, run, write_report

__version__ = "0.1.0"

__all__ = ["Run", "__version__", "advise", "check", "compare", "errors", "load", "run", "write_report"]
