"""Attacks that copy a model through the lists it gives."""
