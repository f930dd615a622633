"""What the kernels raise when a device cannot do its work; callers turn it into an error of their own."""

from __future__ import annotations


class DeviceFault(Exception):
    """A device is missing, too small, or failed.

    Parameters
    ----------
    reason : str
        Stable identifier in upper snake case: ``DEVICE_NOT_AVAILABLE``, ``DEVICE_UNKNOWN``, ``DEVICE_OUT_OF_MEMORY``,
        ``DEVICE_FAILED``, ``KERNEL_NOT_COMPILED``.
    message : str
        What is wrong and what would mend it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        return (DeviceFault, (self.reason, self.message))
