from tests.support.disks import disk, pytest_pyfunc_call

__all__ = ["disk", "pytest_pyfunc_call"]
