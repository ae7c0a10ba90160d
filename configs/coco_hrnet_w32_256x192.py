"""COCO with HRNet-W32 at 256x192.

    python train.py --config=configs/coco_hrnet_w32_256x192.py --workdir=runs/coco_hrnet_w32_256x192
    python eval.py  --config=configs/coco_hrnet_w32_256x192.py --workdir=runs/coco_hrnet_w32_256x192

Published: 74.4 AP with the detector's boxes (HRNet); H3R's own figure could not be verified. Not trained here yet.
Memory: 17.1 GiB on one device, 545 MiB and 132.7 for each of 128 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.coco()
    config.model.name = "hrnet_w32_pose"
    config.model.head = "pose"
    config.model.input_size = (256, 192)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 128
    config.train.epochs = 140.0
    config.train.learning_rate = 1e-3
    return config
