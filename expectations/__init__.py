"""Gates: what may enter the warehouse's models (arrival) and what may be published (candidate).

The rules are data (``suites/``), Great Expectations evaluates them, and ``decide`` reads their severities.
"""
