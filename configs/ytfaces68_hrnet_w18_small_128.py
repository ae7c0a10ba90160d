"""Real faces from scratch with HRNet-W18-small at 128x128; data and protocol as in ytfaces68_mobilenetv2_128.

    python train.py --config=configs/ytfaces68_hrnet_w18_small_128.py --workdir=runs/ytfaces68_hrnet
    python eval.py  --config=configs/ytfaces68_hrnet_w18_small_128.py --workdir=runs/ytfaces68_hrnet

Score: docs/results.md. Cost: 4,461 steps of 0.65 s on two idle CPU cores.
"""

from configs import ytfaces68_mobilenetv2_128


def get_config():
    config = ytfaces68_mobilenetv2_128.get_config()
    config.model.name = "hrnet_w18_small"
    # Fifteen passes are few: small batches make more steps of them, and with stronger changes of the images the
    # error on the training set is still that of other people's faces.
    config.train.batch_size = 8
    config.train.learning_rate = 3e-3
    config.train.average_decay = 0.998
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.augment.shift = 0.03
    config.augment.color = 0.1
    config.augment.blur = 0.0
    config.augment.occlusion = 0.0
    return config
