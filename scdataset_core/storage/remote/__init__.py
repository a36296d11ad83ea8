"""Object stores: bytes of S3, GCS, Azure and HTTP, and of stores that users bring."""
