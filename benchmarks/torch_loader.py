"""The input path that a PyTorch user would write: OpenCV reads, warps and changes files in the workers of a DataLoader.

The workers import this module, so it imports neither JAX nor TensorFlow.
"""

import cv2
import numpy as np
import torch
from torch.utils import data

cv2.setNumThreads(0)  # the workers are the threads


class Faces(data.Dataset):
    """Training examples of a folder.

    paths: of the images.
    matrices: `float64[N, 2, 3]`, image to network pixels.
    landmarks: `float64[N, K, 2]`, image pixels.
    mirror_order: landmark i of the mirrored image is landmark `mirror_order[i]`.
    ranges: the random changes, a dictionary with the fields of `h3r_jax.augment.Augmentation`.
    """

    def __init__(self, paths, matrices, landmarks, mirror_order, shape, ranges):
        self.paths, self.matrices, self.landmarks, self.ranges = paths, matrices, landmarks, ranges
        self.order, self.shape = list(mirror_order), shape

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        ranges, (height, width), random = self.ranges, self.shape, np.random
        angle = np.radians(ranges["rotation"]) * random.uniform(-1, 1)
        zoom = np.exp(np.log1p(ranges["scale"]) * random.uniform(-1, 1))
        linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        center = (np.array([width, height]) - 1) / 2
        move = ranges["shift"] * np.array([width, height]) * random.uniform(-1, 1, 2)
        matrix = linear @ self.matrices[index]
        matrix[:, 2] += center - linear @ (center + move)
        landmarks = self.landmarks[index] @ matrix[:, :2].T + matrix[:, 2]
        image = cv2.cvtColor(cv2.imread(self.paths[index]), cv2.COLOR_BGR2RGB)
        image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
        if random.uniform() < ranges["mirror"]:
            image, landmarks = image[:, ::-1], landmarks[self.order]
            landmarks[:, 0] = width - 1 - landmarks[:, 0]
        if ranges["color"]:
            image = self._change_color(image.astype(np.float32), 1 + ranges["color"] * random.uniform(-1, 1, 6))
        if ranges["blur"] and random.uniform() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), max(ranges["blur"] * random.uniform(), 1e-3))
        if random.uniform() < ranges["occlusion"]:
            sides = (np.array(self.shape) * random.uniform(0.1, 0.4, 2)).astype(int)
            top, left = (random.randint(0, size - side + 1) for size, side in zip(self.shape, sides))
            image = np.ascontiguousarray(image)
            image[top : top + sides[0], left : left + sides[1]] = random.randint(0, 256, 3)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(landmarks.astype(np.float32))

    @staticmethod
    def _change_color(image, factors):
        grey = image.mean(axis=-1, keepdims=True)
        image = grey + factors[0] * (image - grey)
        mean = image.mean()
        image = (mean + factors[1] * (image - mean)) * (factors[2] * factors[3:])
        return image.clip(0, 255).astype(np.uint8)


def loader(dataset, batch_size, workers):
    """A DataLoader that keeps its workers."""
    return data.DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=True,
        multiprocessing_context="spawn",
    )
