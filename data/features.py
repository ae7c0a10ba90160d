"""The features that every builder gives, and the checks that every image passes before it is stored."""

import io

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image, UnidentifiedImageError

from data import parsing
from h3r_jax.errors import UserError
from h3r_jax.image_files import EXIF_ORIENTATION, open_image
from h3r_jax.images import LazyImage, to_rgb


def landmark_features(num_landmarks: int) -> tfds.features.FeaturesDict:
    """The common feature set, for K landmarks."""
    Scalar, Tensor, Text = tfds.features.Scalar, tfds.features.Tensor, tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            # The file as it came if it is an 8-bit RGB or grey JPEG or PNG, else a PNG of its pixels.
            # Empty if an earlier record of the split has the same image.
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image_of": Scalar(
                np.int64
            ),  # the place in the split of that earlier record; -1 if this one holds its image
            "landmarks": Tensor(
                shape=(num_landmarks, 2), dtype=np.float32
            ),  # image pixels, 0-based, centres at integers
            # How much each landmark counts in the loss, zero where it is not labelled. Metrics count all others alike.
            "weight": Tensor(shape=(num_landmarks,), dtype=np.float32),
            "box": Tensor(
                shape=(4,), dtype=np.float32
            ),  # x0, y0, x1, y1 as the data set delivers it; NaN if it does not
            "subsets": Text(),  # names of the protocol's subsets that hold the record, with spaces between
            # Image pixels, the data set's own unit of the error: MPII's head size, the square root of COCO's segment
            # area, the side of AFLW's face box; NaN if it has none.
            "object_size": Scalar(np.float32),
            "score": Scalar(np.float32),  # of the detector that found the box; NaN if the box was labelled
            "image_id": Scalar(np.int64),  # by which COCO's protocol groups the objects of an image; -1 elsewhere
            "size": Tensor(shape=(2,), dtype=np.int32),  # height and width
            "name": Text(),  # for messages
        }
    )


def stored_image(content: bytes, name: str | None = None) -> LazyImage:
    """An image as it is stored; its landmarks are of its pixels as they are, whatever its EXIF orientation says.

    name: for messages.
    """
    return LazyImage(content, name, turned=False)


def read_image(path: epath.Path, name: str, *, stored_pixels: bool = False) -> tuple[bytes, tuple[int, int]]:
    """The bytes to store for an image file and its `(height, width)`, after decoding all of it.

    Args:
      path: of the file.
      name: the record's name for messages.
      stored_pixels: whether landmarks are known to be of the pixels as they are stored. Then an EXIF orientation, which
        asks a viewer to turn the image, is ignored; otherwise it is refused.

    Raises:
      UserError: the file is missing, does not decode, has an EXIF orientation unless `stored_pixels`, or has pixels of
        32 bits, for which no value of white is agreed.
    """
    try:
        parsing.check_file(path)
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{name}: {parsing.missing_image(path)}; correct the path or remove the row") from None
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except (OSError, ValueError) as error:  # ValueError of a zero byte in its name
        raise UserError(
            f"{name}: {path} cannot be read ({getattr(error, 'strerror', error)}); correct that or remove the row"
        ) from None
    return check_image(content, path, name, stored_pixels=stored_pixels)


def check_image(
    content: bytes, path: epath.Path | str, name: str, *, stored_pixels: bool = False
) -> tuple[bytes, tuple[int, int]]:
    """As `read_image`, for the `content` of the file; `path` is for messages."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()  # of a PNG the checksums, which PIL passes over when it decodes
        with open_image(io.BytesIO(content)) as image:
            opaque = image.mode in ("RGB", "L") and "transparency" not in image.info
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
            if not (opaque and image.format in ("JPEG", "PNG")):
                content = _png(to_rgb(image))
            size = image.height, image.width
    except UnidentifiedImageError:
        raise UserError(f"{name}: {path} is not an image of a known format; replace it or remove the row") from None
    except Exception as error:  # noqa: BLE001 - whatever a decoder makes of broken bytes
        raise UserError(f"{name}: {path} is not a readable image ({error}); replace it or remove the row") from None
    if orientation != 1 and not stored_pixels:
        reason = f"{path} carries EXIF orientation {orientation}, so its pixels and its landmarks may not agree"
        raise UserError(f"{name}: {reason}; store the pixels upright and remove the tag")
    return content, size


def store_pixels(pixels: np.ndarray) -> bytes:
    """A PNG to store for pixels `uint8[H, W]` or `uint8[H, W, 3]` that come in no image file."""
    return _png(Image.fromarray(pixels).convert("RGB"))


def _png(image: Image.Image) -> bytes:
    stored = io.BytesIO()
    image.save(stored, "PNG", compress_level=1)
    return stored.getvalue()
