"""SciCat, as its backend's v3 API shows it to the account that puts datasets there, and a page to look at them.

Belongs here: login, datasets, their lists of files and attachments, refused as strictly as the backend refuses.
Does not: its search, proposals, samples, jobs, v4; or faults of the connection (faults).
"""

from twin.scicat.app import create_app
from twin.scicat.control import create_control_app
from twin.scicat.service import Scicat, create_scicat

__all__ = ["Scicat", "create_app", "create_control_app", "create_scicat"]
