"""Where an iteration begins, and how far it has come."""

from scdataset_core.position import Bookmark, Position, Start

HALF_WAY = Position(3, yielded=10)


def test_a_bookmark_counts_on_from_where_its_iterator_began():
    bookmark = Bookmark(HALF_WAY)
    assert bookmark.position == HALF_WAY
    bookmark.advance()
    bookmark.advance()
    assert bookmark.position == Position(3, yielded=12)
    assert HALF_WAY.yielded == 10


def test_setting_another_epoch_forgets_a_loaded_state():
    start = Start(HALF_WAY, is_loaded=True, is_merged=True)
    assert start.at_epoch(4) == Start(Position(4))


def test_setting_the_epoch_of_a_loaded_state_keeps_its_position():
    start = Start(HALF_WAY, is_loaded=True).at_epoch(3)
    assert start.position is HALF_WAY
    assert start.is_held


def test_setting_the_epoch_of_a_running_loader_begins_it_anew():
    assert Start(HALF_WAY).at_epoch(3) == Start(Position(3))
