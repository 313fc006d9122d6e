"""What a browser may do on the site's own pages: load nothing from elsewhere, run nothing that is inline, and ask Rowcast."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {rowcast};"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class ContentSecurityPolicy:
    """Adds the header, but not to the admin site and to Django's error pages, which have needs of their own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._policy = _POLICY.format(rowcast=settings.ROWCAST_URL)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code < 400 and not request.path.startswith("/admin/"):
            response["Content-Security-Policy"] = self._policy
        return response
