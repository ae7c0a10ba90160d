"""The memory that a recipe's train step needs on a device, from shapes alone.

    python -m benchmarks.memory [FILE:VARIANT ...]

The memory is the sum of the state (parameters, statistics, optimiser, moving average), the gradient, and for each
example its canvas and the arrays that the forward pass keeps for the backward pass, each array once. A compiler
needs more for workspaces, and less where it computes an array twice; neither is counted. Nothing is compiled or run.
The table gives the whole batch on one device, and an eighth of it on each of eight. `benchmarks.topology` compiles a
recipe for a TPU and prints the memory of the result.
"""

import argparse
import math

import jax
import jax.extend.core
import jax.numpy as jnp

from configs import variants
from h3r_jax import augment, models
from h3r_jax.training.recipe import Recipe
from h3r_jax.training.state import create_state, optimizer_of

EXAMPLES = 8  # in the batch that is traced; its bytes are divided by this number


def size(tree):
    """Bytes of all arrays of a tree."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def kept_for_backward(recipe, variables):
    """Bytes that the forward pass of one example keeps."""
    network = recipe.network
    images = jax.ShapeDtypeStruct((EXAMPLES, *network.shape, 3), jnp.float32)
    landmarks = jax.ShapeDtypeStruct((EXAMPLES, network.scheme.num_landmarks, 2), jnp.float32)

    def residuals(params, statistics, images, landmarks):
        place = {"heatmap_shape": network.heatmap_shape, "stride": network.stride}
        points = recipe.objective.points(jax.random.key(0), landmarks, **place)

        def objective(params):
            outputs, _ = network.model.apply(
                {"params": params, "batch_stats": statistics},
                models.normalize_images(images),
                train=True,
                mutable=["batch_stats"],
            )
            return recipe.objective.values(
                network.map_of_outputs(outputs), points, landmarks, stride=network.stride
            ).mean()

        return jax.tree.leaves(jax.vjp(objective, params)[1])

    jaxpr = jax.make_jaxpr(residuals)(variables["params"], variables["batch_stats"], images, landmarks).jaxpr
    given = {id(var) for var in jaxpr.invars}  # parameters and images are counted elsewhere
    kept = {
        id(var): var.aval
        for var in jaxpr.outvars
        if not isinstance(var, jax.extend.core.Literal) and id(var) not in given
    }
    return size(list(kept.values())) / EXAMPLES


def account(config):
    """Bytes of the state with its gradient, and of one example, and the batch size of a recipe."""
    recipe = Recipe.from_config(config)
    variables = recipe.network.shapes()
    optimizer = optimizer_of(config.train, warmup_steps=1, total_steps=2)
    state = jax.eval_shape(lambda v: create_state(v, optimizer, keep_average=recipe.average_decay > 0), variables)
    canvas = 3 * math.prod(augment.canvas_shape(recipe.augmentation, recipe.network.shape))
    return (
        size(state) + size(variables["params"]),
        kept_for_backward(recipe, variables) + canvas,
        config.train.batch_size,
    )


def main():
    recipes = variants.all_recipes()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "recipes", nargs="*", default=list(recipes), metavar="FILE:VARIANT", help="of configs; all by default"
    )
    names = parser.parse_args().recipes
    if unknown := [name for name in names if name not in recipes]:
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(recipes)}")
    print("| recipe | state, MiB | an example, MiB | batch | on one device, GiB | on each of 8, GiB |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in names:
        fixed, example, batch_size = account(recipes[name])
        whole, share = (fixed + example * count for count in (batch_size, batch_size / 8))
        parts = f"{fixed / 2**20:.0f} | {example / 2**20:.1f} | {batch_size}"
        print(f"| `{name}` | {parts} | {whole / 2**30:.1f} | {share / 2**30:.1f} |", flush=True)


if __name__ == "__main__":
    main()
