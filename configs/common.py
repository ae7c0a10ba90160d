"""The fields of a configuration, with their defaults. Every recipe starts from these and changes a few of them.

    from configs import common

    def get_config():
        config = common.get_config()
        config.data.name = "csv"
        ...
        return config

A recipe with a field that is not here is refused. On the command line, --config.data.name=csv sets a field.
h3r_jax/ranges.py says what each field may be: a new field needs a line there. Names are known by the code that takes
them, which the comments name.
"""

import os

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The base of all recipes."""
    config = ConfigDict()
    config.seed = 0
    config.data_dir = os.environ.get("H3R_DATA", "~/h3r_data")  # raw data sets, one folder each
    config.prepared_dir = os.environ.get("H3R_PREPARED", "")  # what TFDS makes of them; empty for data_dir/prepared

    config.data = data = ConfigDict()
    data.name = ""  # key of data.prepare.DATASETS
    data.folder = ""  # of the data set, under data_dir; empty for the one in docs/datasets.md
    data.train_split = "train"
    data.validation_split = "val"  # chooses the best checkpoint; a split or a part such as train[98%:]; empty: none
    data.test_name = ""  # key of data.prepare.DATASETS, if the test split is of another data set
    data.test_folder = ""  # of that data set, as data.folder
    data.test_split = "val"  # the one that eval.py scores
    data.box = "landmarks"  # cropped: around the "landmarks" (P1), or the one that comes with the "dataset" (P2)
    data.box_scale = 1.25  # the crop is larger than the box by this factor
    data.cache_bytes = 2 << 30  # main memory for the decoded canvases of a split, per process

    config.landmarks = landmarks = ConfigDict()
    landmarks.scheme = ""  # key of h3r_jax.landmarks.SCHEMES; empty if the next two fields describe the landmarks
    landmarks.mirror = ()  # landmark i of the mirrored image is landmark mirror[i]
    # Two landmarks whose distance is the unit of the error; empty: sqrt(w * h) of their box, or with one landmark the
    # diagonal of the box that comes with the dataset.
    landmarks.normalizer = ()
    landmarks.connections = ()  # pairs of landmarks that pictures join, one pair after the other
    landmarks.sigmas = ()  # one for each landmark, for eval.metric="coco"

    config.model = model = ConfigDict()
    model.name = "mobilenet_v2"  # key of h3r_jax.models.BACKBONES
    model.head = "heatmap"  # key of h3r_jax.models.HEADS
    model.logits = "difference"  # of a head with two channels: on - off; or "on" alone, as the released H3R networks
    model.input_size = (128, 128)  # height, width; pixels
    model.stride = 4  # input pixels per heatmap cell
    model.dtype = "float32"  # of the computation: "float32" or "bfloat16"

    # Trained weights to start from: a PyTorch file, .safetensors, or a directory; see h3r_jax.convert. Empty for none.
    config.init_from = ""

    config.loss = loss = ConfigDict()
    loss.name = "spatial_cross_entropy"  # key of h3r_jax.losses.OBJECTIVES
    # Where the target stands: "expected", all activation points by their weights; "sampled", one of them, drawn each
    # step (the paper); "threshold", the one that loss.threshold rounds to; "coordinate", the coordinate itself.
    loss.target = "expected"
    loss.threshold = 0.5  # of target "threshold": 0 rounds up, 0.5 to the nearest cell, 1 down
    # Standard deviation of a Gaussian around the target, cells; 0: the activation points alone. The losses
    # "squared_error", "adaptive_wing" and "dsnt", and the target "coordinate", need a width; 1.5 is usual.
    loss.sigma = 0.0
    # Only these losses take another value of the next three fields.
    loss.weight = 1.0  # of the second term of "dsnt" and "integral_cross_entropy"
    loss.margin = 1.0  # of "structured_hinge": how much lower a logit must be, for each cell of distance
    loss.eps = 1.0  # of "structured_hinge": the width of its smooth maximum

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
    train.batch_size = 16  # examples of a step, on all devices together
    train.accumulation = 1  # micro-batches, equal parts of a batch whose gradients make one step
    train.epochs = 60.0
    train.steps = 0  # if positive, the length of the training in place of epochs
    # Key of h3r_jax.training.state.OPTIMIZERS: "adamw" or "muon". Muon with this rate was measured best on faces and on
    # drawn faces, for short trainings of small networks: docs/results.md.
    train.optimizer = "muon"
    train.learning_rate = 8e-3  # peak
    train.warmup_epochs = 1.0
    train.weight_decay = 1e-4
    train.clip_norm = 10.0  # largest norm of the gradient; a very large number clips nothing
    train.average_decay = 0.998  # of the exponential moving average of the variables; 0 for none
    train.nonfinite = "stop"  # if loss or gradient is not finite; or "skip": the step changes nothing and is counted

    config.eval = evaluation = ConfigDict()
    evaluation.batch_size = 64  # images at once, on all devices together
    evaluation.k = 0  # activation points of the decoder; 0: the number that belongs to the loss
    evaluation.selection = "top_k"  # how these points are chosen: "top_k" or "neighbours"
    evaluation.activation = ""  # of the decoder: "softmax", "sigmoid" or "identity"; empty for the one of the loss
    evaluation.flip = ""  # flip test: averages "coordinates" or "heatmaps" with the mirrored image's; empty for none
    evaluation.crop = "exact"  # or "reference": whole pixels, as the released H3R code cuts
    evaluation.averaged = True  # take the moving average of the variables, if the run keeps one
    evaluation.metric = "nme"  # key of h3r_jax.evaluation.protocols.METRICS
    evaluation.normalizers = ()  # units of the error, names of the landmark scheme; the first is that of nme
    evaluation.thresholds = (0.08, 0.10)  # of failure rate and AUC, or of PCKh; COCO needs ()
    evaluation.subsets = ()  # of the test split, which are also scored alone; for nme only

    config.log = log = ConfigDict()
    log.every_steps = 50
    log.eval_every_epochs = 5.0
    log.checkpoint_every_epochs = 1.0
    log.keep_checkpoints = 3  # how many of the latest are kept, in addition to the best
    return config
