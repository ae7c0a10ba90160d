"""Real faces from scratch: 2,379 video frames with 68 landmarks, at 128x128.

    python -m data.fetch_ytfaces68 --data_dir=$HOME/h3r_data
    python train.py --config=configs/ytfaces68.py:mobilenet_v2_128 --workdir=runs/ytfaces68
    python eval.py --workdir=runs/ytfaces68

Protocol: box around the landmarks x 1.25, NME by the outer eye corners, no flip test.
Score: docs/results.md. On two idle CPU cores the HRNet takes 4,461 steps of half a second.
Memory of a batch on one device (`python -m benchmarks.memory`): MobileNetV2 0.2 GiB, HRNet 0.3 GiB.
"""

from configs import common, variants

VARIANTS = {
    # Chosen on training people who were held out: docs/results.md.
    "mobilenet_v2_128": {
        "model": {"name": "mobilenet_v2"},
        "train": {"batch_size": 8, "average_decay": 0.995},
        "augment": {"rotation": 10.0, "scale": 0.1, "shift": 0.03, "color": 0.1, "blur": 0.0, "occlusion": 0.0},
    },
    # No better on boxes of landmarks, and better on those of a face detector, and in the dark: docs/results.md.
    "mobilenet_v2_128_long": {
        "model": {"name": "mobilenet_v2"},
        "train": {"batch_size": 8, "average_decay": 0.998, "epochs": 60.0},
        "augment": {"rotation": 15.0, "scale": 0.15, "shift": 0.05, "color": 0.3, "blur": 0.5, "occlusion": 0.1},
    },
    # It overfits after ten epochs; a stronger augmentation did not help: docs/results.md.
    "hrnet_w18_small_128": {
        "model": {"name": "hrnet_w18_small"},
        "train": {"batch_size": 8, "average_decay": 0.998},
        "augment": {"rotation": 10.0, "scale": 0.1, "shift": 0.03, "color": 0.1, "blur": 0.0, "occlusion": 0.0},
    },
}


def get_config(variant="mobilenet_v2_128"):
    config = common.get_config()
    config.data.update({"name": "csv", "folder": "ytfaces68"})
    config.landmarks.scheme = "ibug68"
    config.train.epochs = 15.0
    config.update(variants.choose(VARIANTS, variant))
    return config
