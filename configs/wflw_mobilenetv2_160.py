"""WFLW with MobileNetV2 at 160x160, box of the data set (P2).

    python train.py --config=configs/wflw_mobilenetv2_160.py --workdir=runs/wflw_mobilenetv2_160
    python eval.py  --config=configs/wflw_mobilenetv2_160.py --workdir=runs/wflw_mobilenetv2_160

Published: 4.58 NME (H3R, models/README). Not trained here yet.
Memory: 1.5 GiB on one device, 11 MiB and 23.5 for each of 64 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.wflw("dataset")
    config.model.name = "mobilenet_v2"
    config.model.input_size = (160, 160)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 120.0
    config.train.learning_rate = 4e-3
    return config
