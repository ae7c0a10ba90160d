"""From images to landmarks.

    predictor = h3r_jax.load_predictor("runs/ytfaces68")
    prediction = predictor("photo.jpg", [100, 80, 300, 290])
    prediction.landmarks                                        # [1, K, 2], pixels of the photograph

The same as a command, for files, folders and videos (docs/predict.md):

    python -m h3r_jax.predict IMAGE... [--checkpoint=PATH|NAME --boxes=FILE|detect|whole --out=DIR]
"""

from h3r_jax.inference import Network
from h3r_jax.predict.loading import load_predictor
from h3r_jax.predict.predictor import Prediction, Predictor

__all__ = ["Network", "Prediction", "Predictor", "load_predictor"]
