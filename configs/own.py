"""Your own images and landmarks, from a folder with train.csv and val.csv: docs/own_data.md.

    python train.py --config=configs/own.py --workdir=runs/NAME --config.data_dir=DIR --config.data.folder=FOLDER

The network is small enough for a CPU. The number of landmarks is that of the CSV files. Their mirror order is in
FOLDER/landmarks.json, or given by --config.landmarks.mirror.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.data.name = "csv"
    config.train.epochs = 15.0
    config.train.batch_size = 8
    config.train.average_decay = 0.995
    config.augment.update({"rotation": 10.0, "scale": 0.1, "shift": 0.03, "color": 0.1, "blur": 0.0, "occlusion": 0.0})
    return config
