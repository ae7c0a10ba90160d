"""Training and evaluation on faces that the project draws itself, so that nothing has to be downloaded.

    python train.py --config=configs/quickstart.py --workdir=runs/quickstart
    python eval.py --workdir=runs/quickstart

Cost: under 5 minutes on two CPU cores, compilation included. Scores: docs/results.md.
Memory: 0.3 GiB on one device: 11 MiB, and 15.4 MiB for each of 16 examples (python -m benchmarks.memory).
"""

from configs import common


def get_config():
    config = common.get_config()
    config.data.name = "phantom"
    config.data.validation_split = "validation"
    config.data.test_split = "test"
    config.landmarks.scheme = "phantom23"
    config.model.input_size = (96, 96)
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.augment.shift = 0.03
    config.augment.color = 0.2
    config.augment.blur = 0.0
    config.augment.occlusion = 0.0
    config.train.epochs = 6.0
    config.train.learning_rate = 8e-3
    config.train.average_decay = 0.99
    config.log.eval_every_epochs = 3.0
    config.log.checkpoint_every_epochs = 1.0
    return config
