"""Networks on voxels: MinkUNet and SPVCNN, and their published checkpoints."""
