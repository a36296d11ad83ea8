"""URLs: which store they name, and how they are shown without what must stay secret."""

from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

__all__ = ["SCHEMES", "ParsedUrl", "is_url", "parse_url"]

HTTP = ("http", "https")
SCHEMES = ("s3", "gs", "az", *HTTP)


class ParsedUrl(NamedTuple):
    """A URL, taken apart.

    Parameters
    ----------
    scheme
        One of `SCHEMES`.
    bucket
        The bucket or container; of HTTP, the full URL, with what is secret in it.
    root
        How the bucket, or the file behind a URL of HTTP, is called in names.
    key
        The name of the object in its bucket; "" for HTTP.
    """

    scheme: str
    bucket: str
    root: str
    key: str

    @property
    def name(self) -> str:
        """The URL without user, password and query."""
        return f"{self.root}/{self.key}" if self.key else self.root

    @property
    def is_http(self) -> bool:
        """Whether it is a URL of HTTP, which lists nothing."""
        return self.scheme in HTTP


def is_url(text: str) -> bool:
    """Return whether text is a URL and no path: it begins with a scheme and ``://``."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.replace("+", "").replace("-", "").isalnum()


def parse_url(url: str) -> ParsedUrl:
    """Take a URL apart.

    Raises
    ------
    ValueError
        If its scheme is not known, or it names no host, bucket or object.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in HTTP:
        return _parse_http(url, scheme)
    if scheme not in SCHEMES:
        hint = "; a local file is opened by its path" if scheme == "file" else ""
        raise ValueError(
            f"{_hide(url)}: the scheme {scheme}:// is not known; open() takes"
            f" {', '.join(f'{known}://' for known in SCHEMES)}, and what another"
            " library has opened: open((store, path)), open(file),"
            f" open(tiledbsoma.open(uri)){hint}"
        )
    bucket, _, key = url.partition("://")[2].partition("/")
    key = key.strip("/")
    if not bucket or "@" in bucket or not key:
        raise ValueError(
            f"{_hide(url)}: expected {scheme}://BUCKET/PATH; give credentials as"
            " storage_options={...}"
        )
    wrong = [part for part in key.split("/") if part in ("", ".", "..")]
    if wrong:
        raise ValueError(
            f'{url}: its path has a part that is "{wrong[0]}", which no object can'
            " have here"
        )
    return ParsedUrl(scheme, bucket, f"{scheme}://{bucket}", key)


def _parse_http(url: str, scheme: str) -> ParsedUrl:
    parts = urlsplit(url)
    if not parts.hostname or parts.path in ("", "/"):
        raise ValueError(f"{_hide(url)}: expected {scheme}://HOST/PATH")
    host = parts.netloc.rpartition("@")[2]
    shown = urlunsplit((scheme, host, parts.path.rstrip("/"), "", ""))
    full = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), parts.query, ""))
    return ParsedUrl(scheme, full, shown, "")


def _hide(url: str) -> str:
    """Return a URL that may be anything, without user, password and query."""
    scheme, _, rest = url.partition("://")
    rest = rest.partition("?")[0].partition("#")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
