"""As many connections as the system has files for."""

import resource

from hypothesis import given
from hypothesis import strategies as st

from replayer.descriptors import BESIDE, enough, room


@given(wanted=st.integers(1, 10**7), least=st.integers(1, 100))
def test_there_is_room_for_as_many_as_are_wanted_or_as_the_system_has_files_for(wanted: int, least: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = wanted if hard == resource.RLIM_INFINITY else hard - BESIDE
    assert room(wanted, least) == max(min(wanted, most), min(least, wanted) if wanted <= most else least)


def test_what_there_is_room_for_is_enough() -> None:
    enough(room(300, 1))
