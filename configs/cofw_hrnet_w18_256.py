"""COFW with HRNet-W18 at 256x256.

    python train.py --config=configs/cofw_hrnet_w18_256.py --workdir=runs/cofw_hrnet_w18_256
    python eval.py  --config=configs/cofw_hrnet_w18_256.py --workdir=runs/cofw_hrnet_w18_256

Published: 3.45 NME by the eye corners (HRNet for faces); H3R's own figure could not be verified. Not trained here yet.
Memory: 8.4 GiB on one device, 184 MiB and 130.8 for each of 64 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.cofw()
    config.model.name = "hrnet_w18"
    config.model.input_size = (256, 256)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 60.0
    config.train.learning_rate = 2e-3
    return config
