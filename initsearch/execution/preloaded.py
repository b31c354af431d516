"""What a fork server imports: the modules that `fork_server.PRELOAD` names, once for all its workers.

Importing this module imports them. It ends the process when it is no longer needed: at Ctrl-C, and between
two imports if its owner has ended, for instance because of an error in the settings.
"""

import atexit
import os
import signal

from initsearch.execution.fork_server import PRELOAD
from initsearch.execution.worker import load

_OWNER = os.getppid()

# Python's own way is a traceback on the screen. Once all is loaded, the fork server ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

for _module in filter(None, os.environ.pop(PRELOAD, "").split(",")):
    load(_module)
    if os.getppid() != _OWNER:
        raise SystemExit
# With all this loaded, a process takes seconds to tidy up; a program that reads its output would wait for it.
atexit.register(os._exit, 0)
