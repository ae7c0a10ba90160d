"""Landmark schemes: what the points of a data set are, how they mirror, and what an error is measured in."""

from h3r_jax.errors import UserError
from h3r_jax.landmarks.bodies import COCO17, MPII16
from h3r_jax.landmarks.faces import AFLW19, COFW29, IBUG68, LAPA106, PHANTOM23, WFLW98
from h3r_jax.landmarks.scheme import LandmarkScheme

__all__ = ["SCHEMES", "LandmarkScheme", "get_scheme"]

SCHEMES = {scheme.name: scheme for scheme in (WFLW98, IBUG68, COFW29, AFLW19, LAPA106, MPII16, COCO17, PHANTOM23)}


def get_scheme(name: str) -> LandmarkScheme:
    """The scheme of that name; ValueError with the known names for another."""
    if name not in SCHEMES:
        raise UserError(f"unknown landmark scheme {name!r}; known are {', '.join(SCHEMES)}")
    return SCHEMES[name]
