"""Which copies and products a scan has, in the order in which they are made, and what each is made of.

Belongs here: the way of a scan, and the chain of each facility. Pure.
Does not: what makes a copy (als_assets), its path (layout), or whether a scan may take its way (policy).
"""

from dataclasses import dataclass

from beamlines.config import Beamline
from beamlines.facilities import FacilityRules
from beamlines.layout import Artifact, Copy
from beamlines.places import Place

PRODUCTS = (Artifact.TIFF, Artifact.ZARR)


@dataclass(frozen=True, slots=True)
class Branch:
    """The copies of one facility's chain, in the order in which they are made."""

    name: str
    facility: FacilityRules
    first_raw: Copy
    """The copy on site that the branch starts from."""
    raw: Copy
    """The raw copy that the jobs take: on site the first one itself, else one at the facility."""
    work: dict[Artifact, Copy]
    """What the jobs make: the products, and the raw file where they stage it to a place of its own."""
    kept: dict[str, dict[Artifact, Copy]]
    """By place: the products that are copied back."""

    @classmethod
    def of(cls, beamline: Beamline, name: str, first_raw: Copy) -> "Branch":
        """The branch that a facility's entry in the configuration describes."""
        facility = beamline.facilities[name]
        work = beamline.places[facility.work]
        staged = {} if facility.work == facility.raw else {Artifact.RAW: Copy(work, Artifact.RAW)}
        return cls(
            name=name,
            facility=facility,
            first_raw=first_raw,
            raw=Copy(beamline.places[facility.raw], Artifact.RAW),
            work=staged | {a: Copy(work, a, maker=name) for a in PRODUCTS},
            kept={
                place: {a: Copy(beamline.places[place], a, maker=name) for a in PRODUCTS} for place in facility.results
            },
        )

    @property
    def products(self) -> list[Copy]:
        """What is made of a raw file and copied back, without any raw copy."""
        return [copy for copy in self.copies if copy.artifact is not Artifact.RAW]

    @property
    def copies(self) -> list[Copy]:
        """Every copy of the branch, in the order in which they are made; the raw one first, where it needs one."""
        raw = [] if self.raw == self.first_raw else [self.raw]
        return [*raw, *self.work.values(), *(copy for products in self.kept.values() for copy in products.values())]

    def results_at(self, place: Place) -> list[Copy]:
        """Its products at a place, the stack of slices first."""
        return [copy for copy in self.products if copy.place == place]

    def made_of(self, copy: Copy) -> Copy:
        """What one of its copies is made of."""
        if copy == self.raw:
            return self.first_raw
        if copy not in self.work.values():
            return self.work[copy.artifact]
        before = {Artifact.RAW: self.raw, Artifact.TIFF: self.work.get(Artifact.RAW, self.raw)}
        return before.get(copy.artifact) or self.work[Artifact.TIFF]

    @property
    def jobs(self) -> list[tuple[Artifact, ...]]:
        """What each of its jobs makes: one fused job or two, as the configuration says."""
        fused = self.facility.jobs == "fused"
        jobs: list[tuple[Artifact, ...]] = [PRODUCTS] if fused else [(artifact,) for artifact in PRODUCTS]
        return [(Artifact.RAW, *jobs[0]), *jobs[1:]] if Artifact.RAW in self.work else jobs

    def step(self, made: tuple[Artifact, ...]) -> str:
        """What the step of one of its jobs is called."""
        return f"{self.name}_{'_'.join(made)}_job"

    @property
    def first(self) -> Copy:
        """The copy by which one tells that a scan has entered the branch."""
        return self.copies[0]


@dataclass(frozen=True, slots=True)
class Stage:
    """One copy on a scan's way."""

    copy: Copy
    made_of: Copy | None = None
    """None of what arrives."""
    branch: str | None = None
    """The facility whose branch makes it; None of what every scan has."""


def stages(beamline: Beamline) -> list[Stage]:
    """Every copy that a scan can have, in order: its arrival, what is made on site, the branches, a comparison."""
    site = beamline.places[beamline.scans.first_copy]
    arrived, first = Copy(beamline.places[beamline.scans.place], Artifact.RAW), Copy(site, Artifact.RAW)
    found = [Stage(arrived), Stage(first, arrived), Stage(Copy(site, Artifact.PREVIEW), first)]
    branches = [Branch.of(beamline, name, first) for name in beamline.facilities]
    for branch in branches:
        found += [Stage(copy, branch.made_of(copy), branch.name) for copy in branch.copies]
    kept_here = [copy for branch in branches for copy in branch.results_at(site)]
    return [*found, Stage(Copy(site, Artifact.COMPARISON), kept_here[0])] if kept_here else found
