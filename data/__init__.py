"""The TensorFlow side: one TFDS builder per data set, and the tf.data pipeline that feeds the network.

Every builder gives the features of `data.features`, so that the pipeline need not know
which data set it reads. `data.prepare` has the builders by name.
"""
