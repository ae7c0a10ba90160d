"""Real faces from scratch with HRNet-W18-small at 128x128; otherwise as ytfaces68_mobilenetv2_128.

    python train.py --config=configs/ytfaces68_hrnet_w18_small_128.py --workdir=runs/ytfaces68_hrnet
    python eval.py  --config=configs/ytfaces68_hrnet_w18_small_128.py --workdir=runs/ytfaces68_hrnet
"""

from configs import ytfaces68_mobilenetv2_128


def get_config():
    config = ytfaces68_mobilenetv2_128.get_config()
    config.model.name = "hrnet_w18_small"
    config.train.learning_rate = 4e-3
    return config
