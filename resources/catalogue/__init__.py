"""SciCat: entries put there, held against what is meant, and taken away.

Belongs here: the account and its calls (session), SciCat's fields (documents), and entries as a whole (catalogue).
Does not: what an entry says (beamlines.catalogue), or when it is said (als_assets, sensors).
"""

from resources.catalogue.catalogue import Catalogue, Put
from resources.catalogue.session import Account, ScicatSession

__all__ = ["Account", "Catalogue", "Put", "ScicatSession"]
