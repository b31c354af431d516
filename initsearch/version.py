"""The version of the installed package; finding it takes longer than importing all else that is light."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("initsearch")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
