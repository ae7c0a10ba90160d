"""An objective: a loss, the target that it aims at, and the decoder that belongs to both, by name."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from h3r_jax import codec, ranges
from h3r_jax.codec.activation import locate
from h3r_jax.codec.arguments import Stride, shape_of_map
from h3r_jax.losses.heatmaps import (
    adaptive_wing,
    integral_regression,
    jensen_shannon,
    squared_error,
    structured_hinge,
)
from h3r_jax.losses.points import binary_cross_entropy, spatial_cross_entropy

WIDEST = (
    2.8  # cells: the radius of a disc of 25, from which trained networks read wide Gaussians best (docs/results.md)
)


class Decoder(NamedTuple):
    """Arguments of `codec.decode`."""

    activation: str
    k: int
    temperature: float


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss with its target. Each field is also a field of `config.loss`. Hashable, so that `jit` can close over it.

    name: key of `OBJECTIVES`.
    target: where the target stands: at all activation points by weight ("expected"); at one of them, drawn anew each
      step ("sampled", the paper); at the one that `threshold` rounds to ("threshold"); or at the coordinate itself,
      between the cells ("coordinate", for Gaussians only). An average over coordinates alone needs none.
    threshold: of target "threshold"; 0 rounds up, 0.5 to the nearest cell, 1 down.
    sigma: standard deviation of the Gaussian around the target, cells; 0 for the activation points alone. A
      Gaussian has the maximum one before it is multiplied by the weight of its point; against a softmax over the map
      the target sums to one.
    weight: of the second term of "dsnt" and "integral_cross_entropy".
    margin, eps: of "structured_hinge".

    Raises:
      ValueError: an unknown name, a number out of its range (`h3r_jax.ranges`), or fields that do not go together.
    """

    name: str = "spatial_cross_entropy"
    target: str = "expected"
    threshold: float = 0.5
    sigma: float = 0.0
    weight: float = 1.0
    margin: float = 1.0
    eps: float = 1.0

    def __post_init__(self) -> None:
        for what, value, known in (("loss", self.name, [*OBJECTIVES]), ("target", self.target, TARGETS)):
            if value not in known:
                raise ValueError(f"unknown {what} {value!r}; known are {', '.join(known)}")
        for name in _NUMBERS:
            ranges.check(f"loss.{name}", getattr(self, name))
        if 0 < self.sigma < 0.1:
            raise ValueError(f"config.loss.sigma is {self.sigma}, too narrow for cells: want 0, or at least 0.1")
        form = OBJECTIVES[self.name]
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default and field.name not in form.fields:
                raise ValueError(
                    f"config.loss.{field.name} is {value!r}, and {self.name} has no use for it; leave it out"
                )
        if form.needs_width and not self.sigma:
            raise ValueError(
                f"config.loss.sigma is 0, and {self.name} aims at Gaussians: want their width in cells, such as 1.5"
            )
        if self.target == "coordinate" and not self.sigma:
            raise ValueError(
                'config.loss.target is "coordinate", and no cell stands there: want a Gaussian around it, such as '
                f"config.loss.sigma=1.5, or one of the targets {', '.join(TARGETS[:-1])}"
            )
        if self.threshold != 0.5 and self.target != "threshold":
            raise ValueError(f'config.loss.threshold is {self.threshold}: it needs config.loss.target="threshold"')

    def points(
        self, key: jax.Array, coordinates: ArrayLike, *, heatmap_shape: Sequence[int], stride: Stride = 4.0
    ) -> codec.ActivationPoints:
        """The activation points that the target stands at.

        Args:
          key: a PRNG key, for the target "sampled".
          coordinates: `[..., K, D]`, input pixels.
          heatmap_shape: `(H, W)` or `(D, H, W)`.
          stride: input pixels per cell; a number, or a tuple in the order of the coordinates.

        Returns:
          ActivationPoints. Of the target "coordinate" one each, whose cell is the position itself, `float32`.
        """
        place: dict[str, Any] = {"heatmap_shape": heatmap_shape, "stride": stride}
        if self.target == "sampled":
            return codec.randomized_rounding(key, coordinates, **place)
        if self.target == "threshold":
            return codec.threshold_rounding(coordinates, threshold=self.threshold, **place)
        if self.target == "expected":
            return codec.activation_points(coordinates, **place)
        shape = shape_of_map(heatmap_shape)
        lower, fraction, inside = locate(coordinates, shape, stride)
        return codec.ActivationPoints((lower + fraction)[..., None, :], jnp.ones((*inside.shape, 1)), inside, shape)

    def values(
        self, outputs: jax.Array, points: codec.ActivationPoints, coordinates: ArrayLike, *, stride: Stride = 4.0
    ) -> jax.Array:
        """The loss of each landmark.

        Args:
          outputs: `[..., H, W, K]` or `[..., D, H, W, K]`, of a network.
          points: what `points` returns for the same coordinates.
          coordinates: `[..., K, D]`, input pixels.
          stride: input pixels per cell; a number, or a tuple in the order of the coordinates.

        Returns:
          `[..., K]`, float32 or wider; also of landmarks that are not inside.

        Raises:
          ValueError: outputs, points and coordinates disagree about their axes; outputs are no floats.
        """
        return OBJECTIVES[self.name].values(self, outputs, points, coordinates, stride)

    def decoder(self, heatmap_shape: Sequence[int]) -> Decoder:
        """The decoder that belongs to the objective, of maps of `heatmap_shape`.

        Of activation points these are nine cells, as in the paper; of Gaussians as many as a disc, or a ball, of radius
        three sigma has, at most `WIDEST`; and all cells of the map if the objective takes the mean over it.
        """
        form, cells, ndim = OBJECTIVES[self.name], math.prod(heatmap_shape), len(heatmap_shape)
        ball = math.pi ** (ndim / 2) / math.gamma(ndim / 2 + 1) * min(3 * self.sigma, WIDEST) ** ndim
        k = cells if form.whole_map else max(9, math.ceil(ball))
        return Decoder(form.activation, min(k, cells), self.eps)

    def __str__(self) -> str:
        fields = OBJECTIVES[self.name].fields
        places = {
            "expected": "all activation points by weight",
            "sampled": "one drawn activation point",
            "threshold": f"the cell that threshold {self.threshold:g} rounds to",
            "coordinate": "the coordinate",
        }
        width = f"Gaussians of {self.sigma:g} cells around " if self.sigma else ""
        against = f" against {width}{places[self.target]}" if "target" in fields else ""
        others = [f"{name} {getattr(self, name):g}" for name in ("weight", "margin", "eps") if name in fields]
        return f"{self.name}{against}" + (f" ({', '.join(others)})" if others else "")


def _target(
    objective: Objective, outputs: jax.Array, points: codec.ActivationPoints, *, mass: bool = False
) -> codec.SeparableTarget:
    """The target of maps like `outputs`; of `mass` one, or with the maximum one."""
    shape = outputs.shape[-1 - points.cells.shape[-1] : -1]
    target = codec.separable_target(points, heatmap_shape=shape, sigma=objective.sigma)
    return target.normalized() if mass else target


class Form(NamedTuple):
    """What is known of the objectives of one name.

    values: of an objective, a network's outputs, points, coordinates and the stride, the loss of each landmark.
    activation: of the decoder that belongs to it.
    fields: those of `Objective` that it reads.
    needs_width: whether sigma must be positive.
    whole_map: whether the decoder takes all cells.
    """

    values: Callable[[Objective, jax.Array, codec.ActivationPoints, ArrayLike, Stride], jax.Array]
    activation: str
    fields: tuple[str, ...] = ("target", "threshold", "sigma")
    needs_width: bool = False
    whole_map: bool = False


def _spatial(o: Objective, z: jax.Array, points: codec.ActivationPoints, x: ArrayLike, stride: Stride) -> jax.Array:
    return spatial_cross_entropy(z, _target(o, z, points, mass=True) if o.sigma else points)


def _integral(o: Objective, z: jax.Array, points: codec.ActivationPoints, x: ArrayLike, stride: Stride) -> jax.Array:
    return integral_regression(z, x, stride=stride)


OBJECTIVES = {
    "spatial_cross_entropy": Form(_spatial, "softmax"),
    "binary_cross_entropy": Form(
        lambda o, z, points, x, stride: binary_cross_entropy(z, _target(o, z, points) if o.sigma else points), "sigmoid"
    ),
    "squared_error": Form(
        lambda o, z, points, x, stride: squared_error(z, _target(o, z, points)), "identity", needs_width=True
    ),
    "adaptive_wing": Form(
        lambda o, z, points, x, stride: adaptive_wing(z, _target(o, z, points)), "identity", needs_width=True
    ),
    "integral": Form(_integral, "softmax", (), whole_map=True),
    # DSNT: with the divergence from a Gaussian, which gives the map a form.
    "dsnt": Form(
        lambda o, z, points, x, stride: (
            _integral(o, z, points, x, stride) + o.weight * jensen_shannon(z, _target(o, z, points, mass=True))
        ),
        "softmax",
        ("target", "threshold", "sigma", "weight"),
        needs_width=True,
        whole_map=True,
    ),
    "integral_cross_entropy": Form(
        lambda o, z, points, x, stride: (
            _spatial(o, z, points, x, stride) + o.weight * _integral(o, z, points, x, stride)
        ),
        "softmax",
        ("target", "threshold", "sigma", "weight"),
        whole_map=True,
    ),
    "structured_hinge": Form(
        lambda o, z, points, x, stride: structured_hinge(
            z, _target(o, z, points, mass=True), x, stride=stride, margin=o.margin, eps=o.eps
        ),
        "softmax",
        ("target", "threshold", "sigma", "margin", "eps"),
    ),
}
TARGETS = ("expected", "sampled", "threshold", "coordinate")
_NUMBERS = ("threshold", "sigma", "weight", "margin", "eps")


def landmark_weights(points: codec.ActivationPoints, weight: jax.Array | None = None) -> jax.Array:
    """How much each landmark counts in a loss: its weight, and nothing outside the map.

    Args:
      points: ActivationPoints or a SeparableTarget, with `inside [..., K]`.
      weight: `[..., K]`, non-negative weights; None for ones.

    Returns:
      `float32[..., K]`.
    """
    inside = points.inside.astype(jnp.float32)
    return inside if weight is None else inside * weight.astype(jnp.float32)


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean of `values` by `weights`, over all axes; zero if nothing has weight.

    Args:
      values, weights: arrays of one shape.

    Returns:
      A scalar in the dtype of `values`.

    Raises:
      ValueError: the shapes differ.
    """
    if values.shape != weights.shape:
        raise ValueError(f"values have shape {values.shape}, weights {weights.shape}")
    total = jnp.sum(weights).astype(values.dtype)
    return jnp.sum(values * weights) / jnp.maximum(total, math.ulp(1.0))


def landmark_loss(
    outputs: jax.Array,
    coordinates: jax.Array,
    *,
    stride: Stride,
    objective: Objective = Objective(),
    key: jax.Array | None = None,
    weight: jax.Array | None = None,
) -> jax.Array:
    """The mean loss of a network's outputs: the whole objective in one call.

    Args:
      outputs: `[..., H, W, K]` or `[..., D, H, W, K]`.
      coordinates: `[..., K, D]`, input pixels; those outside the map do not count.
      stride: input pixels per cell; a number, or a tuple in the order of the coordinates.
      objective: Objective.
      key: a PRNG key; the target "sampled" needs one.
      weight: `[..., K]`, how much each landmark counts; None for ones.

    Returns:
      A scalar, float32 or wider.

    Raises:
      ValueError: outputs and coordinates disagree about their axes; outputs are no floats; a key is needed.
    """
    if key is None:
        if objective.target == "sampled":
            raise ValueError('the target "sampled" is drawn, so landmark_loss needs a key')
        key = jax.random.key(0)
    shape = outputs.shape[-1 - coordinates.shape[-1] : -1]
    points = objective.points(key, coordinates, heatmap_shape=shape, stride=stride)
    values = objective.values(outputs, points, coordinates, stride=stride)
    return weighted_mean(values, landmark_weights(points, weight))
