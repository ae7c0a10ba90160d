"""COCO 2017, 17 joints: AP and AR of val2017 with the detector's boxes.

    python train.py --config=configs/coco.py:hrnet_w32_256x192 --workdir=runs/coco --config.data_dir=DIR
    python eval.py --workdir=runs/coco

Column AP: the published figure of HRNet with the detector's boxes. At 128x96 it is with a quarter shift; DARK has 70.7
there. H3R's own figure could not be verified. Not trained here yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
To score with the labelled boxes instead of the detector's, add --config.data.test_split=val to eval.py.
"""

from configs import variants

# fmt: off
VARIANTS = {  #          model             input       box        batch epochs rate    AP   GiB
    "hrnet_w32_256x192": ("hrnet_w32_pose", (256, 192), "dataset", 128, 140.0, 1e-3),  # 74.4 17.3
    "hrnet_w32_128x96":  ("hrnet_w32_pose", (128, 96),  "dataset", 128, 140.0, 1e-3),  # 66.9 5.4
}
# fmt: on


def get_config(variant="hrnet_w32_256x192"):
    config = variants.published_body("coco_keypoints", "coco17", VARIANTS, variant, test_split="val_detections")
    config.eval.metric = "coco"
    config.eval.thresholds = ()
    return config
