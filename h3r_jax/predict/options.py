"""Flags that describe a network, where its file does not, or in place of what its file says."""

import argparse

from h3r_jax import codec, inference, models
from h3r_jax.landmarks import SCHEMES
from h3r_jax.ranges import count


def add_network(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds the flags, each with the name of the argument of `load_predictor` that it sets.

    A flag that is not given is missing from what the parser returns, so that the default of `load_predictor` holds.

    Returns:
      Their argument group, for further flags of one command.
    """
    group = parser.add_argument_group(
        "the network",
        "by default as the run's config.json says; for a file of weights without one, see docs/export.md",
        argument_default=argparse.SUPPRESS,
    )
    group.add_argument("--model", choices=models.BACKBONES, help="backbone, if the file does not tell it")
    group.add_argument("--head", choices=models.HEADS, help="head, if the file does not tell it")
    group.add_argument("--landmarks", type=count, metavar="K", help="number of landmarks, if the file does not tell it")
    group.add_argument("--scheme", choices=SCHEMES, help="landmark scheme: names, mirror order and unit of landmarks")
    group.add_argument("--input_size", type=height_and_width, metavar="SIDE|H,W", help="size of the crop in pixels")
    group.add_argument("--logits", choices=inference.LOGITS, help="logit map from the two channels of a binary head")
    group.add_argument("--activation", choices=codec.ACTIVATIONS, help="way to weigh the cells, see docs/method.md")
    group.add_argument("--k", type=count, help="number of cells that the decoder averages")
    group.add_argument("--selection", choices=codec.SELECTIONS, help="way to choose the k cells")
    group.add_argument(
        "--flip", choices=inference.FLIPS, help="what to average with the mirrored crop, '' for none; needs the scheme"
    )
    return group


def height_and_width(text: str) -> tuple[int, int]:
    """`(H, W)` of "256" or "256,192"."""
    try:
        sides = [count(side) for side in text.split(",")]
        height, width = 2 * sides if len(sides) == 1 else sides
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is neither one number of pixels nor HEIGHT,WIDTH") from None
    return height, width
