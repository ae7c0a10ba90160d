"""LaPa, 106 landmarks: NME by the outer eye corners.

    python train.py --config=configs/lapa.py:hrnet_w18_256 --workdir=runs/lapa --config.data_dir=DIR
    python eval.py --workdir=runs/lapa

Column NME: H3R's published figure (its models/README), with boxes of its own; the data set has none. Not trained here
yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
"""

from configs import variants

# fmt: off
VARIANTS = {  #         model           input       box          batch epochs rate     NME  GiB
    "hrnet_w18_256":    ("hrnet_w18",    (256, 256), "landmarks", 64,  60.0,  2e-3),  # 1.40 8.5
    "mobilenet_v2_128": ("mobilenet_v2", (128, 128), "landmarks", 64,  120.0, 4e-3),  # 2.08 1.0
    "mobilenet_v2_256": ("mobilenet_v2", (256, 256), "landmarks", 64,  120.0, 4e-3),  # 1.69 3.8
}
# fmt: on


def get_config(variant="hrnet_w18_256"):
    return variants.published("lapa", "lapa106", VARIANTS, variant, train_split="train", validation_split="val")
