"""Hands that show rock, paper or scissors, rendered on the spot: a data set that needs no download.

>>> from mobilenets.data import hands
>>> picture = hands.render(seed=0, index=1)
>>> picture.label, picture.image.shape, picture.attributes["fingers"]
('paper', (128, 128, 3), 5)
"""

from .folder import VERSION, prepare
from .picture import Attributes, Rendered, render
from .pose import SIGNS
from .sheet import contact_sheet

__all__ = ["SIGNS", "VERSION", "Attributes", "Rendered", "contact_sheet", "prepare", "render"]
