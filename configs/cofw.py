"""COFW, 29 landmarks: NME by the outer eye corners and by the pupils.

    python train.py --config=configs/cofw.py:hrnet_w18_256 --workdir=runs/cofw --config.data_dir=DIR
    python eval.py --workdir=runs/cofw

Column NME: the published figure of HRNet for faces, by the eye corners. H3R's own figure could not be verified. Not
trained here yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
"""

from configs import variants

# fmt: off
VARIANTS = {  #      model        input       box          batch epochs rate    NME  GiB
    "hrnet_w18_256": ("hrnet_w18", (256, 256), "landmarks", 64,   60.0, 2e-3),  # 3.45 8.4
}
# fmt: on


def get_config(variant="hrnet_w18_256"):
    config = variants.published("cofw", "cofw29", VARIANTS, variant)
    config.eval.normalizers = ("inter_ocular", "inter_pupil")
    return config
