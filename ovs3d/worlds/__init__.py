"""Procedural scenes with exact truth, and writers for the formats that real data come in."""
