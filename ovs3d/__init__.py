"""Open-vocabulary 3D segmentation: what both branches share.

Text prompts, foundation models, feature cache, procedural worlds, query and evaluation.

Letters, in shapes and in code: ``n`` points or pixels, ``r`` rays, ``s`` samples on a ray, ``v`` voxels,
``b`` scans or images in a batch, ``h w`` rows and columns, ``c`` channels, ``d`` embedding size,
``k`` prompts or classes, ``m`` negatives.

Words: a *logit* is any real number, a *score* is comparable within one prompt, a *probability* sums to 1,
a *similarity* is a cosine. An *embedding* is a unit vector; a *feature* need not be.
"""

__version__ = "0.1.0"
