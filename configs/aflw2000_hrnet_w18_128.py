"""300W-LP to AFLW2000-3D with HRNet-W18 at 128x128.

    python train.py --config=configs/aflw2000_hrnet_w18_128.py --workdir=runs/aflw2000_hrnet_w18_128
    python eval.py  --config=configs/aflw2000_hrnet_w18_128.py --workdir=runs/aflw2000_hrnet_w18_128

Published: 3.04 NME (H3R, models/README: listed as P2; its code takes the landmarks' box, as here). Not trained here yet.
"""

from configs import datasets


def get_config():
    config = datasets.aflw2000()
    config.model.name = "hrnet_w18"
    config.model.input_size = (128, 128)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 30.0
    config.train.learning_rate = 2e-3
    return config
