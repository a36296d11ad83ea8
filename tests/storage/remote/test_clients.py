"""What clients make of the answers of stores."""

from datetime import UTC, datetime

from scdataset_core.storage.remote.clients import ObstoreClient

WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)


class Answer:
    """The answer to GET: the tag stands in quotation marks."""

    def __init__(self):
        self.meta = {"size": 4, "e_tag": '"0x1"', "last_modified": WRITTEN}

    def bytes(self):
        return b"abcd"


class AzureStore:
    """Answers as Azure Blob Storage does."""

    def list(self, prefix, chunk_size):
        yield [{"path": "X/0", "size": 4, "e_tag": "0x1", "last_modified": WRITTEN}]

    def get(self, key, options):
        assert options["if_match"] == '"0x1"'
        return Answer()


def test_tags_that_azure_lists_are_those_it_answers_with():
    client = ObstoreClient(AzureStore(), "az://plates")
    (listed,) = client.list_objects("X")
    assert client.get(listed.key, 0, 4, listed.identity) == b"abcd"
    assert client.get_whole(listed.key, listed.identity) == (listed.identity, b"abcd")
