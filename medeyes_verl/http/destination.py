"""Where an endpoint's requests go: to this machine or to another one, directly or through a proxy, encrypted or not.

The client connects by what is found here, so what a user is told before an image is sent is what happens.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass

import httpx


@dataclass(frozen=True, slots=True)
class Destination:
    """Who receives an image that a policy is asked about.

    Attributes:
        host: host and port of the endpoint; None where the policy runs in this process.
        local: the host is this machine's own loopback.
        encrypted: by TLS, up to the endpoint.
        proxy: the proxy's URL, from the environment; None where the connection is direct.
    """

    host: str | None
    local: bool
    encrypted: bool
    proxy: str | None = None

    def sentence(self) -> str:
        """Say where the image goes, for a user who has not sent it yet."""
        if self.host is None:
            return "The image stays on this machine: the policy runs inside this demo."
        if self.local:
            return (
                f"The image stays on this machine: it is sent to the server at {self.host}. "
                "If that server is a tunnel or a gateway, it may pass the image on."
            )
        through = "" if self.proxy is None else f" through the proxy {_address(httpx.URL(self.proxy))}"
        how = "encrypted (https)" if self.encrypted else "in clear (http): others on the network can read it"
        return f"The image leaves this machine: it is sent to {self.host}{through}, {how}."


IN_THIS_PROCESS = Destination(host=None, local=True, encrypted=True)
"""Of a policy that is loaded here."""


def destination_of(base_url: str) -> Destination:
    """Find where requests to an endpoint go. Raises ValueError for what is no http(s) URL with a host.

    Local are loopback addresses, and localhost where it resolves to nothing else. Any other name counts as another
    machine, whatever it looks like or resolves to now: a name may resolve to something else in the next request.
    A local endpoint is reached directly, also where the environment names a proxy: a proxy would take the image off
    this machine, and would look for the endpoint on its own.
    """
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{base_url!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{base_url!r} is not the URL of an endpoint; write http://HOST:PORT/v1 or https://HOST/v1")
    local = _is_loopback(url.host)
    return Destination(
        host=_address(url), local=local, encrypted=url.scheme == "https", proxy=None if local else _proxy_of(url)
    )


def _is_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    try:
        return _address_is_loopback(name)
    except ValueError:
        pass
    if name != "localhost" and not name.endswith(".localhost"):  # RFC 6761 keeps these for the machine itself
        return False
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    except OSError:
        return False
    return bool(found) and all(_address_is_loopback(address) for address in found)


def _address_is_loopback(text: str) -> bool:
    """Raises ValueError for what is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(text))  # 127.1 and the like, as the resolver reads them
        except OSError as error:
            raise ValueError(f"{text!r} is no address") from error
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _proxy_of(url: httpx.URL) -> str | None:
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host if url.port is None else f"{url.host}:{url.port}"):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _address(url: httpx.URL) -> str:
    """Host and port as ASCII, without the user and password a URL may carry."""
    host = url.raw_host.decode("ascii")
    host = f"[{host}]" if ":" in host else host
    return host if url.port is None else f"{host}:{url.port}"
