"""Image data sets, held in memory as uint8 tensors, and the split that a block's seed draws.

`DataSettings` is the config group `data`; `load_data` finds, downloads or decodes what it names.
Begin with `load.py`; each data set is read by a file of its own.
"""

from initsearch.tasks.data.images import ImageData as ImageData
from initsearch.tasks.data.load import list_data as list_data
from initsearch.tasks.data.load import load_data as load_data
from initsearch.tasks.data.settings import DataSettings as DataSettings
from initsearch.tasks.data.settings import default_root as default_root
from initsearch.tasks.data.split import Split as Split
from initsearch.tasks.data.split import split as split
from initsearch.tasks.data.split import split_sizes as split_sizes
