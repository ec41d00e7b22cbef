"""The exit codes of `jaxvl train`, for what starts it: a scheduler, a script, a sweep."""

FINISHED = 0
FAILED = 1  # a value that is not finite; another process has ended or hangs; an unforeseen error
REFUSED = 2  # for the user to put right: the same command would end in the same way
STOPPED = 75  # SIGTERM, Ctrl-C or a notice of preemption: saved; the same command continues

HELP = """\
Exit code: 0 where the last step is made, 75 where the run was stopped before it (SIGTERM, Ctrl-C, a
notice of preemption) and has saved, so that the same command continues; 2 for what the user can put
right; 1 for a value that is not finite and for other errors.
"""
