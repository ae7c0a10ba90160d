"""COCO with HRNet-W32 at 128x96.

    python train.py --config=configs/coco_hrnet_w32_128x96.py --workdir=runs/coco_hrnet_w32_128x96
    python eval.py  --config=configs/coco_hrnet_w32_128x96.py --workdir=runs/coco_hrnet_w32_128x96

Published: 66.9 AP with the detector's boxes (HRNet with quarter shift), 70.7 (DARK). Not trained here yet.
Memory: 5.3 GiB on one device, 545 MiB and 38.3 for each of 128 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.coco()
    config.model.name = "hrnet_w32_pose"
    config.model.head = "pose"
    config.model.input_size = (128, 96)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 128
    config.train.epochs = 140.0
    config.train.learning_rate = 1e-3
    return config
