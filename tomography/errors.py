"""What can be wrong with a request, by name.

Belongs here: errors whose message a person reads alone, at night: what was seen, what it means, what to do.
Does not: faults of the machine (a full disk, lost permission); those stay ``OSError`` and exit with 1.
"""


class TomographyError(Exception):
    """A request that cannot be fulfilled as it stands; repeating it unchanged will not help."""


class ScanError(TomographyError):
    """The raw file is damaged, incomplete or not a tomography scan."""


class StackError(TomographyError):
    """A TIFF stack is incomplete, damaged, or not the one that its manifest describes."""


class OutputError(TomographyError):
    """The place for the product is taken: by other settings, another program's files, or another process."""


class LimitError(TomographyError):
    """More memory is needed than may be taken. What was done before is kept: with more, the same command continues."""


class CenterError(TomographyError):
    """The centre of rotation cannot be had with the certainty that was asked for."""


class SettingsError(TomographyError):
    """A setting that no reconstruction has, or that this scan cannot be reconstructed with."""
