"""Measurements; `make bench` prints them, nothing passes or fails by them."""
