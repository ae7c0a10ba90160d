"""The objectives once more, one map at a time, in float64, as plain loops over cells: what the fast ones must equal.

A map is a numpy array of shape `(H, W)` or `(D, H, W)`; a position in cells is `(x, y)` or `(x, y, z)`.
"""

import itertools
import math

import numpy as np


def cells(shape):
    return itertools.product(*map(range, shape))


def gaussian(centers, shape, sigma):
    """A map with a Gaussian of maximum one around each of `[(position, weight)]`, times its weight."""
    result = np.zeros(shape)
    for cell in cells(shape):
        for position, weight in centers:
            squares = sum((i - x) ** 2 for i, x in zip(cell, position[::-1]))
            result[cell] += weight * (math.exp(-squares / (2 * sigma**2)) if sigma else squares == 0)
    return result


def log_softmax(logits):
    peak = logits.max()
    return logits - peak - math.log(sum(math.exp(z - peak) for z in logits.ravel()))


def spatial_cross_entropy(logits, target, **_):
    return -sum(y * z for y, z in zip((target / target.sum()).ravel(), log_softmax(logits).ravel()))


def binary_cross_entropy(logits, target, **_):
    return sum(
        y * math.log1p(math.exp(-z)) + (1 - y) * math.log1p(math.exp(z)) for y, z in zip(target.ravel(), logits.ravel())
    )


def squared_error(heatmap, target, **_):
    return sum((z - y) ** 2 for y, z in zip(target.ravel(), heatmap.ravel()))


def adaptive_wing(heatmap, target, **_):
    """As published, with its numbers."""
    alpha, omega, epsilon, theta = 2.1, 14, 1, 0.5
    total = 0.0
    for y, z in zip(target.ravel(), heatmap.ravel()):
        ratio, power = theta / epsilon, alpha - y
        a = omega * power * ratio ** (power - 1) / (1 + ratio**power) / epsilon
        c = theta * a - omega * math.log(1 + ratio**power)
        error = abs(y - z)
        total += omega * math.log(1 + (error / epsilon) ** power) if error < theta else a * error - c
    return total


def jensen_shannon(logits, target):
    p, q = np.exp(log_softmax(logits)).ravel(), (target / target.sum()).ravel()
    mean = (p + q) / 2
    return sum(part * math.log(part / m) for each in (p, q) for part, m in zip(each, mean) if part > 0) / 2


def integral(logits, position):
    p = np.exp(log_softmax(logits))
    error = 0.0
    for axis, x in enumerate(position[::-1]):
        error += abs(sum(p[cell] * cell[axis] for cell in cells(logits.shape)) - x)
    return error


def structured_hinge(logits, target, position, margin, eps):
    target = target / target.sum()
    raised = [(logits[cell] + margin * math.dist(cell, position[::-1])) / eps for cell in cells(logits.shape)]
    peak = max(raised)
    hardest = eps * (peak + math.log(sum(math.exp(z - peak) for z in raised)))
    return hardest - sum(y * z for y, z in zip(target.ravel(), logits.ravel()))


def objective(name, logits, target, position, weight, margin, eps):
    """The objective of that name; `target` is the map of maximum about one."""
    if name == "integral":
        return integral(logits, position)
    if name == "dsnt":
        return integral(logits, position) + weight * jensen_shannon(logits, target)
    if name == "integral_cross_entropy":
        return spatial_cross_entropy(logits, target) + weight * integral(logits, position)
    if name == "structured_hinge":
        return structured_hinge(logits, target, position, margin, eps)
    return globals()[name](logits, target)
