"""AFLW-19 with HRNet-W18 at 256x256.

    python train.py --config=configs/aflw_hrnet_w18_256.py --workdir=runs/aflw_hrnet_w18_256
    python eval.py  --config=configs/aflw_hrnet_w18_256.py --workdir=runs/aflw_hrnet_w18_256

Published: 1.57 NME full, 1.46 frontal, by the box (HRNet for faces); H3R's own figure could not be verified. Not trained here yet.
Memory: 8.3 GiB on one device, 184 MiB and 130.7 for each of 64 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.aflw()
    config.model.name = "hrnet_w18"
    config.model.input_size = (256, 256)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 60.0
    config.train.learning_rate = 2e-3
    return config
