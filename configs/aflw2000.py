"""300W-LP for training, AFLW2000-3D for testing, 68 landmarks: NME by the root of the area of the landmarks' box.

    python train.py --config=configs/aflw2000.py:hrnet_w18_128 --workdir=runs/aflw2000 --config.data_dir=DIR
    python eval.py --workdir=runs/aflw2000

Column NME: H3R's published figure (its models/README). It is listed as P2, but H3R's code crops the landmarks' box, as
here. Not trained here yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
"""

from configs import variants

# fmt: off
VARIANTS = {  #         model           input       box          batch epochs rate    NME  GiB
    "hrnet_w18_128":    ("hrnet_w18",    (128, 128), "landmarks", 64,   30.0, 2e-3),  # 3.04 2.4
    "mobilenet_v2_128": ("mobilenet_v2", (128, 128), "landmarks", 64,   30.0, 4e-3),  # 3.21 0.9
}
# fmt: on


def get_config(variant="hrnet_w18_128"):
    config = variants.published("the300w_lp", "ibug68", VARIANTS, variant, test_name="aflw2000")
    config.eval.normalizers = ("box",)
    config.eval.subsets = ("yaw_0_30", "yaw_30_60", "yaw_60_90")
    return config
