"""Settings that every test shares."""

import os
import signal

# Before torch and OpenCV are imported, here and in every process that a test starts: the tests run on one process per core,
# and threads on top of that would only wait for each other.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

# What a shell starts in the background does not hear Ctrl-C, nor do its children; the tests that send one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
