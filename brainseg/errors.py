"""The errors a user can meet; each class carries the exit code that the program ends with.

The codes are those of the BIDS Apps execution specification's draft, which follows sysexits(3).
"""


class BrainsegError(Exception):
    """Base of every error that is explained to the user in one line.

    The message says what is wrong, where, the value seen and what to do about it. It names
    arguments in backticks, as Python knows them (`tissues`); the command line turns them into
    its own options (--tissues), see `brainseg.cli.flags`.
    """

    exit_code = 1


class InvalidDatasetError(BrainsegError):
    """The input folder is not a BIDS dataset that can be used."""

    exit_code = 16


class UnknownLevelError(BrainsegError):
    """The analysis level is neither ``participant`` nor ``group``."""

    exit_code = 17


class NothingMatchedError(BrainsegError):
    """The filters (participant, session, run) match no scan."""

    exit_code = 18


class VerdictError(BrainsegError):
    """The result was written, but the automatic checks call it a failure."""

    exit_code = 19


class UsageError(BrainsegError):
    """The command line cannot be understood or its options contradict each other."""

    exit_code = 64


class DataError(BrainsegError, ValueError):
    """The input exists but its content cannot be segmented."""

    exit_code = 65


class NoInputError(BrainsegError):
    """An input file or folder does not exist or cannot be read."""

    exit_code = 66


class InternalError(BrainsegError):
    """A fault of brainseg that nobody foresaw."""

    exit_code = 70


class CannotCreateError(BrainsegError):
    """The output exists already, or its folder cannot be created or written."""

    exit_code = 73


class OutputError(BrainsegError):
    """Writing failed on the way, for example on a full disk."""

    exit_code = 74


class TemporaryError(BrainsegError):
    """A passing fault, for example another run holding the lock; trying again may succeed."""

    exit_code = 75
