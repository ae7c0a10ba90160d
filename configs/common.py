"""The fields of a configuration, with their defaults: every recipe changes a few of them.

from configs import common
def get_config():
    config = common.get_config()
    ...
"""

import os

from ml_collections import ConfigDict


def get_config():
    """The base of all recipes."""
    config = ConfigDict()
    config.seed = 0
    config.data_dir = os.environ.get("H3R_DATA", "~/h3r_data")  # raw data sets, one folder each
    config.prepared_dir = os.environ.get("H3R_PREPARED", "~/h3r_data/prepared")  # what TFDS makes of them

    config.data = data = ConfigDict()
    data.name = ""  # key of data.prepare.DATASETS
    data.folder = ""  # under data_dir; empty for the data set's own: see docs/datasets.md
    data.train_split = "train"
    data.validation_split = (
        "val"  # held out of training, chooses the best checkpoint; a part such as train[98%:], or empty
    )
    data.test_name = ""  # key of data.prepare.DATASETS, where the test split is of another data set; else empty
    data.test_folder = ""  # its folder under data_dir; empty for its own
    data.test_split = "val"  # what eval.py reports
    data.box = "landmarks"  # what is cropped: "landmarks" (P1) or "dataset" (P2)
    data.box_scale = 1.25
    data.on_error = "stop"  # at a training image that cannot be read, or "skip": no weight, counted; evaluation stops
    data.cache_bytes = 2 << 30  # of main memory per split, for decoded canvases

    config.landmarks = landmarks = ConfigDict()
    landmarks.scheme = ""  # key of h3r_jax.landmarks.SCHEMES, or empty for one's own:
    landmarks.mirror = ()  # landmark i of the mirrored image is landmark mirror[i]
    landmarks.normalizer = ()  # two landmarks whose distance is the unit of the error; empty for sqrt(w * h) of their box

    config.model = model = ConfigDict()
    model.name = "mobilenet_v2"  # key of h3r_jax.models.BACKBONES
    model.head = "heatmap"  # key of h3r_jax.models.HEADS
    model.logits = "difference"  # of a two-channel head: on - off, or "on" alone as in the released H3R networks
    model.input_size = (128, 128)  # height, width; pixels
    model.stride = 4  # input pixels per heatmap cell
    model.dtype = "float32"  # of the computation: "float32" or "bfloat16"

    config.init_from = (
        ""  # trained weights to start from: a PyTorch file, .safetensors or a directory; see h3r_jax.convert
    )

    config.loss = loss = ConfigDict()
    loss.name = "spatial_cross_entropy"  # key of h3r_jax.losses.LOSSES
    loss.target = "expected"  # all weighted activation points, or "sampled": one drawn each step (the paper)

    config.augment = augment = ConfigDict()  # see h3r_jax.augment.Augmentation
    augment.rotation = 30.0
    augment.scale = 0.25
    augment.shift = 0.05
    augment.mirror = 0.5
    augment.color = 0.3
    augment.blur = 1.0
    augment.occlusion = 0.3
    augment.half_body = 0.0

    config.train = train = ConfigDict()
    train.batch_size = 16  # of all devices together
    train.accumulation = 1  # micro-batches whose gradients make one step
    train.epochs = 60.0
    train.learning_rate = 4e-3  # peak
    train.warmup_epochs = 1.0
    train.weight_decay = 1e-4
    train.clip_norm = 10.0
    train.average_decay = 0.998  # exponential moving average of variables; 0 for none
    train.nonfinite = "stop"  # at a loss or gradient that is not finite, or "skip": the step changes nothing, counted

    config.eval = evaluation = ConfigDict()
    evaluation.batch_size = 64
    evaluation.k = 9
    evaluation.selection = "top_k"  # or "neighbours"
    evaluation.activation = ""  # of the decoder: "softmax", "sigmoid" or "identity"; empty for what belongs to the loss
    evaluation.flip = ""  # average with the mirrored image: its "coordinates" or its "heatmaps" of probabilities
    evaluation.crop = "exact"  # or "reference": whole pixels, as the released H3R code cuts
    evaluation.averaged = True  # evaluate the moving average where there is one
    evaluation.metric = "nme"  # key of h3r_jax.training.protocols.METRICS
    evaluation.normalizers = ()  # names in the landmark scheme; the first is the unit of NME, empty for the scheme's first
    evaluation.thresholds = (0.08, 0.10)  # of failure rate and AUC, or of PCKh; empty for COCO
    evaluation.subsets = ()  # of the test split, scored by themselves as well; of nme alone

    config.log = log = ConfigDict()
    log.every_steps = 50
    log.eval_every_epochs = 5.0
    log.checkpoint_every_epochs = 1.0
    log.keep_checkpoints = 3  # the latest; the best is kept besides
    return config
