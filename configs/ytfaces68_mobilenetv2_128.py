"""Real faces from scratch: 2,379 video frames with 68 landmarks, MobileNetV2 at 128x128.

    python -m data.fetch_ytfaces68 --data_dir=$HOME/h3r_data
    python train.py --config=configs/ytfaces68_mobilenetv2_128.py --workdir=runs/ytfaces68
    python eval.py  --config=configs/ytfaces68_mobilenetv2_128.py --workdir=runs/ytfaces68

Cost and score: docs/results.md. Protocol: box from landmarks x 1.25, outer eye corners, no flip test.
Memory: 0.4 GiB on one device, 11 MiB and 27.5 for each of 16 examples (python -m benchmarks.memory).
"""

from configs import common


def get_config():
    config = common.get_config()
    config.data.name = "csv"
    config.data.folder = "ytfaces68"
    config.landmarks.scheme = "ibug68"
    config.augment.rotation = 20.0
    config.augment.scale = 0.2
    config.augment.color = 0.2
    config.augment.blur = 0.8
    config.augment.occlusion = 0.2
    config.train.epochs = 15.0
    config.train.learning_rate = 8e-3
    config.train.average_decay = 0.995
    return config
