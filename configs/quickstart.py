"""Training and evaluation on faces that the project draws itself, so that nothing has to be downloaded.

    python train.py --config=configs/quickstart.py --workdir=runs/quickstart
    python eval.py --workdir=runs/quickstart

Cost: under 5 minutes on two CPU cores, compilation included. Scores: docs/results.md.
Memory: 0.3 GiB on one device: 11 MiB, and 15.4 MiB for each of 16 examples (python -m benchmarks.memory).
"""

from configs import common


def get_config():
    config = common.get_config()
    config.data.update({"name": "phantom", "validation_split": "validation", "test_split": "test"})
    config.landmarks.scheme = "phantom23"
    config.model.input_size = (96, 96)
    config.augment.update({"rotation": 10.0, "scale": 0.1, "shift": 0.03, "color": 0.2, "blur": 0.0, "occlusion": 0.0})
    config.train.update({"epochs": 6.0, "learning_rate": 1.6e-2, "average_decay": 0.99})
    config.log.eval_every_epochs = 3.0
    return config
