"""WFLW, 98 landmarks: NME by the outer eye corners, failure rate and AUC at 0.10, six subsets.

    python train.py --config=configs/wflw.py:hrnet_w18_256_p1 --workdir=runs/wflw --config.data_dir=DIR
    python eval.py --workdir=runs/wflw

Column NME: H3R's published figure (its models/README). Not trained here yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
P1 crops the box of the landmarks, P2 the box that comes with the data.
"""

from configs import variants

# fmt: off
VARIANTS = {  #            model           input       box          batch epochs rate     NME  GiB
    "hrnet_w18_256_p1":    ("hrnet_w18",    (256, 256), "landmarks", 64,  60.0,  2e-3),  # 3.81 8.5
    "hrnet_w18_256_p2":    ("hrnet_w18",    (256, 256), "dataset",   64,  60.0,  2e-3),  # 3.95 8.5
    "mobilenet_v2_128_p2": ("mobilenet_v2", (128, 128), "dataset",   64,  120.0, 4e-3),  # 4.72 1.0
    "mobilenet_v2_160_p2": ("mobilenet_v2", (160, 160), "dataset",   64,  120.0, 4e-3),  # 4.58 1.5
    "mobilenet_v2_256_p2": ("mobilenet_v2", (256, 256), "dataset",   64,  120.0, 4e-3),  # 4.45 3.8
}
# fmt: on


def get_config(variant="hrnet_w18_256_p1"):
    config = variants.published("wflw", "wflw98", VARIANTS, variant)
    config.eval.subsets = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
    return config
