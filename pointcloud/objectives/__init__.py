"""What networks on points are trained by."""
