"""Sparse convolution in plain PyTorch: no compiler, any device, MinkowskiEngine's weight layout.

A ``SparseTensor`` holds features on a ``Level``: voxels at one stride, sorted. Levels and kernel maps of one input are
made once and kept by it. A back-end only does the arithmetic of a convolution along a kernel map.
"""

from pointcloud.sparse.modules import BatchNorm, Convolution, TransposedConvolution, use_backend
from pointcloud.sparse.tensor import SparseTensor, concatenate, sparse_tensor

__all__ = [
    "BatchNorm",
    "Convolution",
    "SparseTensor",
    "TransposedConvolution",
    "concatenate",
    "sparse_tensor",
    "use_backend",
]
