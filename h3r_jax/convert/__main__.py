"""The command line of `h3r_jax.convert`."""

import argparse
from collections.abc import Sequence

from h3r_jax import convert, models
from h3r_jax.errors import sentences
from h3r_jax.ranges import count


def main(arguments: Sequence[str] | None = None) -> None:
    """Converts, and prints what became of every tensor; one sentence and status 1 if it cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m h3r_jax.convert",
        description=convert.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="weights to read")
    parser.add_argument("destination", metavar="DESTINATION", help="file or directory to create")
    parser.add_argument("--model", choices=models.BACKBONES, help="backbone, if the tensors do not tell it")
    parser.add_argument("--head", choices=models.HEADS, help="head, if the tensors do not tell it")
    parser.add_argument("--half", action="store_true", help="kernels in float16: half the bytes of a .safetensors file")
    parser.add_argument("--overwrite", action="store_true", help="replace what is at DESTINATION, if it is of its kind")
    parser.add_argument(
        "--landmarks", type=count, metavar="K", help="number of landmarks; a head for another number is an error"
    )
    options = vars(parser.parse_args(arguments))
    with sentences():
        spec, report = convert.convert_weights(options.pop("source"), options.pop("destination"), **options)
        print(spec, *report.lines(), sep="\n")


if __name__ == "__main__":
    main()
