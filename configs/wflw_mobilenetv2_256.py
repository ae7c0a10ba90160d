"""WFLW with MobileNetV2 at 256x256, box of the data set (P2).

    python train.py --config=configs/wflw_mobilenetv2_256.py --workdir=runs/wflw_mobilenetv2_256
    python eval.py  --config=configs/wflw_mobilenetv2_256.py --workdir=runs/wflw_mobilenetv2_256

Published: 4.45 NME (H3R, models/README). Not trained here yet.
Memory: 3.8 GiB on one device, 11 MiB and 60.0 for each of 64 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.wflw("dataset")
    config.model.name = "mobilenet_v2"
    config.model.input_size = (256, 256)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 120.0
    config.train.learning_rate = 4e-3
    return config
