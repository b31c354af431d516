"""Image data sets held in memory as uint8 tensors, and the split that a block's seed draws."""

from ._config import DataConfig as DataConfig
from ._config import default_root as default_root
from ._images import ImageData as ImageData
from ._load import list_data as list_data
from ._load import load_data as load_data
from ._split import Split as Split
from ._split import split as split
from ._split import split_sizes as split_sizes
