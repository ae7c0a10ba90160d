"""AFLW, 19 landmarks, CCL split: NME by the side of the face box and by its diagonal; full and frontal test set.

    python train.py --config=configs/aflw.py:hrnet_w18_256 --workdir=runs/aflw --config.data_dir=DIR
    python eval.py --workdir=runs/aflw

Column NME: the published figure of HRNet for faces, full / frontal, by the side of the box. H3R's own figure could not
be verified. Not trained here yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
"""

from configs import variants

# fmt: off
VARIANTS = {  #      model        input       box        batch epochs rate    NME         GiB
    "hrnet_w18_256": ("hrnet_w18", (256, 256), "dataset", 64,   60.0, 2e-3),  # 1.57 / 1.46 8.4
}
# fmt: on


def get_config(variant="hrnet_w18_256"):
    config = variants.published("aflw", "aflw19", VARIANTS, variant)
    config.eval.normalizers = ("box_side", "box_diagonal")
    config.eval.subsets = ("frontal",)
    return config
