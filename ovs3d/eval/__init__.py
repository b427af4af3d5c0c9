"""Predictions against truth: counts, metrics of each protocol, and the report they end in."""
