"""LaPa with HRNet-W18 at 256x256.

    python train.py --config=configs/lapa_hrnet_w18_256.py --workdir=runs/lapa_hrnet_w18_256
    python eval.py  --config=configs/lapa_hrnet_w18_256.py --workdir=runs/lapa_hrnet_w18_256

Published: 1.40 NME (H3R, models/README, with boxes of its own). Not trained here yet.
Memory: 8.4 GiB on one device, 185 MiB and 132.0 for each of 64 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.lapa()
    config.model.name = "hrnet_w18"
    config.model.input_size = (256, 256)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 60.0
    config.train.learning_rate = 2e-3
    return config
