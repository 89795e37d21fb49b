"""A notebook-first research workbench for recommender systems."""

PROFILES = ("quick", "full")
"""How much a run of the suite does: seconds a notebook, or the tuned one."""
