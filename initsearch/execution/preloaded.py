"""What a fork server imports, so that the workers that are forked from it need not.

Importing this module does it, for the modules that `fork_server.PRELOAD` names. It ends the process if no
program needs it any longer: at Ctrl-C, and between two imports if its owner has ended, for instance by an
error in the settings.
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
