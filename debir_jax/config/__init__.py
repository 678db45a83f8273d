"""From a config (`configs/default.py`) to the objects that it names, by subject."""
