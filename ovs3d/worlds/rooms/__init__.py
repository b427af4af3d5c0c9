"""Rooms: what stands in them, as RGB-D data sets record them."""
