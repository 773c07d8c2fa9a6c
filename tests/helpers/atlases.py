"""Stand-ins for atlases that other programs bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuroxai.io import write_volume
from neuroxai.space import Space, Volume

JHU_TABLE = (
    "<atlas><header><type>Label</type></header><data><label index='0'>Unclassified</label>"
    "<label index='1'>Tapetum R</label><label index='2'>Tapetum L</label></data></atlas>"
)


def stand_in(folder: Path, image: str, table: str, text: str = JHU_TABLE) -> None:
    """An image of two regions and the table of their names, where a program would have put them."""
    space = Space((3, 1, 1), np.eye(4))
    for path in (folder / image, folder / table):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(folder / image, Volume(np.array([0, 1, 2]).reshape(3, 1, 1), space), dtype=np.uint8)
    (folder / table).write_text(text)
