"""A notebook-first research workbench for recommender systems."""
