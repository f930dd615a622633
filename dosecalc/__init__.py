"""dosecalc: an open, independent radiotherapy dose engine. A research and QA tool, not a medical device."""

__version__ = "0.1.0"
