"""The point-cloud branch: sparse 3D networks trained without labels."""
