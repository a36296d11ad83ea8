"""Objects of AnnData and its kin: in memory, backed, lazy, collections."""
