"""300W with HRNet-W18 at 256x256, the detector's box (P2).

    python train.py --config=configs/w300_hrnet_w18_256_p2.py --workdir=runs/w300_hrnet_w18_256_p2
    python eval.py  --config=configs/w300_hrnet_w18_256_p2.py --workdir=runs/w300_hrnet_w18_256_p2

Published: 3.62 NME (H3R, models/README), of a split that it does not name: probably the private one, which is
`python eval.py ... --config.data.test_split=private --config.eval.subsets='()' --config.data.box=landmarks`, since that
split has no detector's boxes; the default is the public test set. Its P2 was the landmarks' box moved by a
pixel. Not trained here yet.
Memory: 8.4 GiB on one device, 184 MiB and 131.4 for each of 64 examples (python -m benchmarks.memory).
"""

from configs import datasets


def get_config():
    config = datasets.w300("dataset")
    config.model.name = "hrnet_w18"
    config.model.input_size = (256, 256)
    config.model.dtype = "bfloat16"
    config.train.batch_size = 64
    config.train.epochs = 60.0
    config.train.learning_rate = 2e-3
    return config
