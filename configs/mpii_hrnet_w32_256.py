"""MPII with HRNet-W32 at 256x256.

    python train.py --config=configs/mpii_hrnet_w32_256.py --workdir=runs/mpii_hrnet_w32_256
    python eval.py  --config=configs/mpii_hrnet_w32_256.py --workdir=runs/mpii_hrnet_w32_256

Published: 90.3 PCKh@0.5 and, as its Mean@0.1, 37.7 at 0.11 (HRNet); H3R's own figure could not be
verified. Not trained here yet.
Memory: 22.3 GiB on one device, 545 MiB and 174.4 for each of 128 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.mpii()
    config.model.name = "hrnet_w32_pose"
    config.model.head = "pose"
    config.model.input_size = (256, 256)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 128
    config.train.epochs = 200.0
    config.train.learning_rate = 1e-3
    return config
