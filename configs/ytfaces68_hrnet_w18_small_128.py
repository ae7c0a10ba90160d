"""Real faces from scratch with HRNet-W18-small at 128x128; otherwise as ytfaces68_mobilenetv2_128.

    python train.py --config=configs/ytfaces68_hrnet_w18_small_128.py --workdir=runs/ytfaces68_hrnet
    python eval.py  --config=configs/ytfaces68_hrnet_w18_small_128.py --workdir=runs/ytfaces68_hrnet

Cost and score: docs/results.md.
"""

from configs import ytfaces68_mobilenetv2_128


def get_config():
    config = ytfaces68_mobilenetv2_128.get_config()
    config.model.name = "hrnet_w18_small"
    # Fifteen passes are few: small batches make more steps of them, and the hardest examples are left out.
    config.train.batch_size = 8
    config.train.learning_rate = 3e-3
    config.train.average_decay = 0.998
    config.augment.occlusion = 0.0
    return config
