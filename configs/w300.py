"""300W, 68 landmarks: NME by the outer eye corners; common, challenge and full test set.

    python train.py --config=configs/w300.py:hrnet_w18_256_p1 --workdir=runs/w300 --config.data_dir=DIR
    python eval.py --workdir=runs/w300

Column NME: H3R's published figure (its models/README). H3R does not name the split; it is probably the private one. Not
trained here yet.
Column GiB: the memory of a batch on one device (`python -m benchmarks.memory`).
P1 crops the box of the landmarks, P2 the detector's box (`bb_detector` of the official files). H3R's P2 was the
landmarks' box, moved by a pixel. The private split has no detector's boxes. To score it:

    python eval.py --workdir=runs/w300 --config.data.test_split=private --config.eval.subsets='()'

For a variant of P2 also add --config.data.box=landmarks.
"""

from configs import variants

# fmt: off
VARIANTS = {  #            model           input       box          batch epochs rate     NME  GiB
    "hrnet_w18_256_p1":    ("hrnet_w18",    (256, 256), "landmarks", 64,  60.0,  2e-3),  # 3.48 8.5
    "hrnet_w18_256_p2":    ("hrnet_w18",    (256, 256), "dataset",   64,  60.0,  2e-3),  # 3.62 8.5
    "mobilenet_v2_128_p2": ("mobilenet_v2", (128, 128), "dataset",   64,  120.0, 4e-3),  # 4.17 0.9
    "mobilenet_v2_256_p2": ("mobilenet_v2", (256, 256), "dataset",   64,  120.0, 4e-3),  # 3.96 3.7
}
# fmt: on


def get_config(variant="hrnet_w18_256_p1"):
    config = variants.published("w300", "ibug68", VARIANTS, variant)
    config.eval.subsets = ("common", "challenge")
    return config
