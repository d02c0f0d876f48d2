"""``python -m peers.pyramid STACK OUT.zarr``: a pyramid by ngff-zarr, as the beamline's earlier program made it.

Belongs here: that call. Does not: judgement. Runs in the environment of the peers.
"""

import sys
from pathlib import Path

from ngff_zarr import (
    Methods,
    cli_input_to_ngff_image,
    detect_cli_io_backend,
    to_multiscales,
    to_ngff_zarr,
)


def main(stack: Path, out: Path) -> None:
    """Smoothed by dask-image's Gaussian, OME-Zarr 0.4, lengths in micrometers."""
    slices = [str(path) for path in sorted(stack.glob("*.tiff"))]
    image = cli_input_to_ngff_image(detect_cli_io_backend(slices), slices)
    image.scale = dict.fromkeys("zyx", 0.65)
    image.axes_units = dict.fromkeys("zyx", "micrometer")
    to_ngff_zarr(str(out), to_multiscales(image, method=Methods.DASK_IMAGE_GAUSSIAN, cache=False), version="0.4")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
