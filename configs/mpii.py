"""MPII, 16 joints: PCKh of the validation split, which papers report, at 0.5, 0.1 and 0.11 of the head.

    python train.py --config=configs/mpii.py:hrnet_w32_256 --workdir=runs/mpii --config.data_dir=DIR
    python eval.py --workdir=runs/mpii

Column PCKh: the published figures of HRNet, at 0.5 / at 0.11. H3R's own figure could not be verified. Not trained here
yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
HRNet prints the value at 0.11 as "Mean@0.1": it takes row 11 of a grid that begins at 0.
The training split lacks head sizes, so no part of it can serve for validation: the last checkpoint counts.
"""

from configs import variants

# fmt: off
VARIANTS = {  #      model             input       box        batch epochs rate    PCKh        GiB
    "hrnet_w32_256": ("hrnet_w32_pose", (256, 256), "dataset", 128, 200.0, 1e-3),  # 90.3 / 37.7 22.6
}
# fmt: on


def get_config(variant="hrnet_w32_256"):
    splits = {"train_split": "train", "validation_split": "", "test_split": "valid"}
    config = variants.published_body("mpii", "mpii16", VARIANTS, variant, **splits)
    config.augment.update({"rotation": 30.0, "scale": 0.25, "half_body": 0.0})  # HRNet's values for MPII
    config.eval.metric = "pckh"
    config.eval.thresholds = (0.5, 0.1, 0.11)
    return config
