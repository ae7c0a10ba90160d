"""LaPa with MobileNetV2 at 256x256.

    python train.py --config=configs/lapa_mobilenetv2_256.py --workdir=runs/lapa_mobilenetv2_256
    python eval.py  --config=configs/lapa_mobilenetv2_256.py --workdir=runs/lapa_mobilenetv2_256

Published: 1.69 NME (H3R, models/README, with boxes of its own). Not trained here yet.
Memory: 3.8 GiB on one device, 11 MiB and 60.1 for each of 64 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.lapa()
    config.model.name = "mobilenet_v2"
    config.model.input_size = (256, 256)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 120.0
    config.train.learning_rate = 4e-3
    return config
