"""Streets: what stands and moves in them, as driving data sets record them."""
