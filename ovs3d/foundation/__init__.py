"""Frozen image and text models: CLIP, DINO, SAM, their weights, and what is computed from them once."""
