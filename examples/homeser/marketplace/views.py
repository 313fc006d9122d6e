"""The page, the rows that it begins with, and the token with which the browser then listens."""

import time
from collections.abc import Callable
from decimal import Decimal
from functools import wraps
from typing import Any

import jwt
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from marketplace import booking
from marketplace.models import Booking, Notification, Payment, Service, User

_NOTIFICATIONS = 20
"""How many the page begins with."""


class _Rows(DjangoJSONEncoder):
    """Writes amounts as Postgres does: as numbers."""

    def default(self, o: Any) -> Any:
        return float(o) if isinstance(o, Decimal) else super().default(o)


def signed_in(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answers 401 where a page would be sent to sign in: a script cannot fill in a form."""

    @wraps(view)
    def each(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return JsonResponse({"detail": "you are signed out"}, status=401)
        return view(request, *args, **options)

    return each


@require_GET
@login_required
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    """Serves what `npm run build` has written, the same for everybody."""
    try:
        return HttpResponse((settings.PAGE / "index.html").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return HttpResponse("The page is not built: run `python examples/build.py`.\n", status=503, content_type="text/plain")


@require_GET
@signed_in
def me(request: HttpRequest) -> HttpResponse:
    """Says who is signed in, where to listen, and what they may make of a booking."""
    user = request.user
    return JsonResponse(
        {"id": str(user.pk), "name": user.username, "role": user.role, "rowcast": settings.ROWCAST_URL, "moves": booking.moves(user)}
    )


@require_GET
@signed_in
def rows(request: HttpRequest, table: str) -> HttpResponse:
    """Returns the rows that concern the user, as their stream has them, and who that is: somebody else may be signed in by now."""
    mine = booking.visible_to(request.user)
    match table:
        case "bookings":
            found = mine.order_by("start_time", "pk").values()
        case "payments":
            found = Payment.objects.filter(booking__in=mine).values()
        case "services":
            found = Service.objects.values()
        case "notifications":
            found = Notification.objects.filter(user=request.user).order_by("-pk").values()[:_NOTIFICATIONS]
        case "people":
            found = User.objects.filter(Q(bookings__in=mine) | Q(served__in=mine)).distinct().values("id", "username")
        case _:
            return JsonResponse({"detail": f"there are no {table} here"}, status=404)
    return JsonResponse({"id": str(request.user.pk), table: list(found)}, encoder=_Rows)


@require_POST
@signed_in
def move(request: HttpRequest, number: int, status: str) -> HttpResponse:
    """Answers 204: what has changed comes by the stream, as it does to everybody else."""
    try:
        booking.move(number, status, request.user)
    except Booking.DoesNotExist:
        return JsonResponse({"detail": f"you have no booking {number}"}, status=404)
    except booking.NotPossible as error:
        return JsonResponse({"detail": str(error)}, status=409)
    return HttpResponse(status=204)


@require_POST
@signed_in
def token(request: HttpRequest) -> HttpResponse:
    """Signs who the user is, for as long as it takes to ask for the next one; and says so, for a page takes none that is another's."""
    seconds = settings.TOKEN_SECONDS
    claims = {"sub": str(request.user.pk), "role": request.user.role, "exp": int(time.time()) + seconds}
    signed = jwt.encode(claims, settings.ROWCAST_JWT_SECRET, algorithm="HS256")
    response = JsonResponse({"id": claims["sub"], "token": signed, "expires_in": seconds})
    response["Cache-Control"] = "no-store"
    return response
