"""The NeRF branch: a nerfstudio plugin that renders CLIP features and answers text."""
