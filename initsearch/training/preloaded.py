"""What a fork server loads, so that the workers that are forked from it need not.

Importing this module does it. It ends the process where nobody waits for it any more: at Ctrl-C, and between
two imports where its owner has ended, say with an error in the settings.
"""

import atexit
import importlib
import os
import signal

from initsearch.training.process import LOADED

_OWNER = os.getppid()

# Python's own way is a traceback on the screen. Once all is loaded, the fork server ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

for _module in ("torch", "torchvision", "lightning.pytorch", LOADED):
    importlib.import_module(_module)
    if os.getppid() != _OWNER:
        raise SystemExit
# With all this loaded, a process takes seconds to tidy up, for which whoever reads its output would wait.
atexit.register(os._exit, 0)
