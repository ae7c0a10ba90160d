"""The codecs once more, one map at a time, in float64, as plain loops over cells: what the fast ones must equal.

A map is a numpy array of shape `(H, W)`, `(D, H, W)` or `(W,)`; positions and
coordinates are `(x, y)`, `(x, y, z)` or `(x,)`, so that they index it backwards.
"""

import itertools
import math

import numpy as np
from scipy import ndimage


def cells(shape):
    """All cells as index tuples, row-major."""
    return list(itertools.product(*(range(size) for size in shape)))


def activation_points(coordinate, shape, stride):
    """`[(cell, weight)]` with the cell in the order of the coordinates; and whether the coordinate is inside."""
    lower, fractions, inside = [], [], True
    for x, size, step in zip(coordinate, reversed(shape), stride):
        position = x / step
        inside = inside and 0 <= position <= size - 1
        position = 0.0 if math.isnan(position) else min(max(position, 0.0), size - 1.0)
        low = min(int(position), max(size - 2, 0))
        lower.append(low)
        fractions.append(position - low)
    points = {}
    for corner in itertools.product((0, 1), repeat=len(shape)):
        weight = math.prod(f if c else 1 - f for c, f in zip(corner, fractions))
        cell = tuple(min(n + c, size - 1) for n, c, size in zip(lower, corner, reversed(shape)))
        points[cell] = points.get(cell, 0.0) + weight
    return points, inside


def heatmap(coordinate, shape, stride):
    """The expected heatmap."""
    result = np.zeros(shape)
    points, inside = activation_points(coordinate, shape, stride)
    for cell, weight in points.items() if inside else ():
        result[cell[::-1]] += weight
    return result


def mass(value, activation, temperature=1.0):
    if activation == "softmax":
        return math.exp(value / temperature)
    if activation == "sigmoid":
        return 1 / (1 + math.exp(-value)) if value > -700 else math.exp(value)
    return max(value, 0.0)


def strongest(values, k):
    """The `k` strongest cells; ties to the lowest row-major index."""
    return sorted(cells(values.shape), key=lambda cell: -values[cell])[:k]


def neighbours(values, k, activation):
    """The cells around the maximum that `k` stands for, without those beyond the border."""
    ndim = values.ndim
    peak = strongest(values, 1)[0]

    def within(offsets):
        moved = [tuple(p + o for p, o in zip(peak, offset)) for offset in offsets]
        return [cell for cell in moved if all(0 <= c < size for c, size in zip(cell, values.shape))]

    if k == 2**ndim:
        blocks = []
        for origin in itertools.product((0, -1), repeat=ndim):
            blocks.append(within([tuple(o + c for o, c in zip(origin, corner)) for corner in np.ndindex(*(2,) * ndim)]))
        return max(blocks, key=lambda block: sum(mass(values[cell], activation) for cell in block))
    if k == 2 * ndim + 1:
        return within([o for o in itertools.product((-1, 0, 1), repeat=ndim) if sum(map(abs, o)) <= 1])
    reach = (round(k ** (1 / ndim)) - 1) // 2
    return within(itertools.product(range(-reach, reach + 1), repeat=ndim))


def decode(values, *, k, stride, activation, selection, temperature=1.0):
    """Coordinates, confidence and covariance (before any floor at zero)."""
    chosen = strongest(values, k) if selection == "top_k" else neighbours(values, k, activation)
    masses = [mass(values[cell], activation, temperature) for cell in chosen]
    total = sum(mass(value, activation, temperature) for value in values.ravel())
    ndim = values.ndim
    mean = [sum(m * cell[ndim - 1 - axis] for m, cell in zip(masses, chosen)) / sum(masses) for axis in range(ndim)]
    covariance = np.zeros((ndim, ndim))
    for i, j in itertools.product(range(ndim), repeat=2):
        for m, cell in zip(masses, chosen):
            covariance[i, j] += m * (cell[ndim - 1 - i] - mean[i]) * (cell[ndim - 1 - j] - mean[j]) / sum(masses)
        if i == j:
            fraction = mean[i] - math.floor(mean[i])
            covariance[i, i] -= fraction * (1 - fraction)
        covariance[i, j] *= stride[i] * stride[j]
    return [m * s for m, s in zip(mean, stride)], sum(masses) / total, covariance


def gaussian(coordinate, shape, stride, *, sigma=2.0, unbiased=False):
    result = np.zeros(shape)
    _, inside = activation_points(coordinate, shape, stride)
    if not inside:
        return result
    center = [x / s for x, s in zip(coordinate, stride)]
    if not unbiased:
        center = [math.floor(c + 0.5) for c in center]
    for cell in cells(shape):
        offsets = [i - c for i, c in zip(reversed(cell), center)]
        if unbiased or max(map(abs, offsets)) <= 3 * sigma:
            result[cell] = math.exp(-sum(o * o for o in offsets) / (2 * sigma**2))
    return result


def maximum(values):
    """Position of the strongest cell, in cells."""
    return np.array(strongest(values, 1)[0][::-1], float)


def quarter_shift(values):
    peak = strongest(values, 1)[0]
    position = maximum(values)
    for axis in range(values.ndim):
        along = values.ndim - 1 - axis
        if 0 < peak[along] < values.shape[along] - 1:
            above, below = ([*peak[:along], peak[along] + step, *peak[along + 1 :]] for step in (1, -1))
            position[axis] += 0.25 * np.sign(values[tuple(above)] - values[tuple(below)])
    return position


def smooth(values, kernel_size):
    """A Gaussian kernel in one piece, zero beyond the border, rescaled to the maximum of before."""
    reach = (kernel_size - 1) // 2
    sigma = 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8
    square = sum(np.square(o) for o in np.meshgrid(*[np.arange(-reach, reach + 1)] * values.ndim))
    kernel = np.exp(-square / (2 * sigma**2))
    result = ndimage.correlate(values, kernel / kernel.sum(), mode="constant")
    return result * values.max() / result.max()


def dark(values, kernel_size=11):
    logs = np.log(np.maximum(smooth(values, kernel_size), 1e-10))
    peak = strongest(values, 1)[0]
    if not all(1 < c < size - 2 for c, size in zip(peak, values.shape)):
        return maximum(values)
    ndim = values.ndim
    unit = np.eye(ndim, dtype=int)[::-1]  # in the order of the coordinates

    def at(offset):
        return logs[tuple(np.array(peak) + offset)]

    gradient = np.array([(at(u) - at(-u)) / 2 for u in unit])
    hessian = np.empty((ndim, ndim))
    for i, j in itertools.product(range(ndim), repeat=2):
        u, v = unit[i], unit[j]
        # For i == j the same four values are those of step two.
        hessian[i, j] = (at(u + v) - at(u - v) - at(v - u) + at(-u - v)) / 4
    return maximum(values) + newton(gradient, hessian)


def udp(values, kernel_size=11):
    padded = np.pad(np.log(np.clip(smooth(values, kernel_size), 1e-3, 50)), 1, mode="edge")
    peak = strongest(values, 1)[0]
    ndim = values.ndim
    unit = np.eye(ndim, dtype=int)[::-1]

    def at(offset):
        return padded[tuple(np.array(peak) + 1 + offset)]

    gradient = np.array([(at(u) - at(-u)) / 2 for u in unit])
    hessian = np.eye(ndim) * np.finfo(np.float32).eps
    for i, j in itertools.product(range(ndim), repeat=2):
        u, v = unit[i], unit[j]
        if i == j:
            hessian[i, i] += at(u) - 2 * at(0 * u) + at(-u)
        else:
            hessian[i, j] = (at(u + v) - at(u) - at(v) + 2 * at(0 * u) - at(-u) - at(-v) + at(-u - v)) / 2
    return maximum(values) + newton(gradient, hessian)


def newton(gradient, hessian):
    if np.linalg.det(hessian) == 0:
        return np.zeros(len(gradient))
    step = -np.linalg.inv(hessian) @ gradient
    return step if np.linalg.eigvalsh(hessian).max() < 0 else np.clip(step, -1, 1)


def soft_argmax(values, temperature):
    total = sum(math.exp(value / temperature) for value in values.ravel())
    return sum(
        math.exp(values[cell] / temperature) / total * np.array(cell[::-1], float) for cell in cells(values.shape)
    )


def debiased_soft_argmax(values, temperature):
    """In the form with the soft-argmax and the centre of the map."""
    total = sum(math.exp(value / temperature) for value in values.ravel())
    center = np.array([(size - 1) / 2 for size in reversed(values.shape)])
    share = values.size / total
    return (soft_argmax(values, temperature) - share * center) / (1 - share)


def local_soft_argmax(values, temperature, window=5):
    chosen = neighbours(values, window**values.ndim, "softmax")
    masses = [math.exp(values[cell] / temperature) for cell in chosen]
    return sum(m * np.array(cell[::-1], float) for m, cell in zip(masses, chosen)) / sum(masses)
