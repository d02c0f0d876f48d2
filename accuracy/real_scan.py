"""A real scan: a tooth, beside another program on the same file.

Belongs here: what is known of it. Does not: phantoms.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from accuracy.chapter import Chapter
from accuracy.findings import Finding
from accuracy.measures import inside
from accuracy.pictures import small_png
from accuracy.program import peer_slices, reconstruct
from tomography import picture
from tomography.contact_sheet import Tile, contact_sheet

PART = "real scan"
CENTER_PX = 295.6
"""As three independent programs found it."""


def chapter(folder: Path, raw: Path, *, with_peers: bool) -> Chapter:
    """Its centre, and its slices beside those of algotom."""
    about = (
        "A tooth (APS 2-BM; 2 rows of 640 pixels, 181 angles), with the same window, Hann, and no correction of rings."
    )
    if not raw.exists():
        return Chapter("A real scan", f"{about} **Skipped: the file is not there** (`{raw.name}`).", [])
    found = reconstruct(raw, folder / "tooth", "--rings", "none", "--filter", "hann")
    center = found.results["center_px"]
    findings = [Finding(PART, "distance of the centre from 295.6", abs(center - CENTER_PX), "px", 0.1)]
    tiles = {"ours": found.volume[0]}
    if with_peers:
        (folder / raw.name).write_bytes(raw.read_bytes())
        peers = peer_slices(folder / raw.name, center, [0, 1], "--windows", "hann")
        # Of the scan no pixel size is known: both are per pixel.
        seen = inside(found.volume.shape[-1])
        for name, slices in peers.items():
            likeness = float(np.corrcoef(found.volume[:, seen].ravel(), slices[:, seen].ravel())[0, 1])
            findings.append(Finding(PART, f"correlation with {name.split()[0]}", likeness, at_least=0.98))
            tiles[name.split()[0]] = slices[0]
    limits = picture.contrast_limits(found.volume[0])
    shown = [Tile(name, picture.grey(image[::2, ::2], limits)) for name, image in tiles.items()]
    return Chapter("A real scan", about, findings, {"tooth.png": small_png(contact_sheet([shown], "A tooth, row 0"))})
