"""A picture on its way to a network: Pillow and NumPy only, no torch.

`door` lets pictures in or says why not; `preprocess` turns one into the array a network sees.
"""

import quiet  # noqa: F401 - before onnxruntime, which the finder of faces imports
