"""The exception that stands for a user's mistake or an unfit environment, and the one for SIGTERM."""


class UserError(Exception):
    """The input or the environment is wrong; the message is one line that names the value and what is allowed.

    The command line prints it as `error: MESSAGE` and ends with status 2, without a traceback.
    Anything else that escapes is a fault of ours: status 3, with the traceback.
    """


class Terminated(BaseException):
    """The process was asked to end by SIGTERM: what must be kept is kept, and it leaves. As KeyboardInterrupt."""
