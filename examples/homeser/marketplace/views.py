"""The page, what it loads, and the token with which the browser then listens."""

import time
from typing import Any

import jwt
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from marketplace import booking
from marketplace.models import Booking, Service, User

_TOKEN_SECONDS = 600
_STREAMS = {
    User.Role.CUSTOMER: "bookings,payments,notifications",
    User.Role.PROVIDER: "provider-bookings,availability,notifications",
    User.Role.ADMIN: "changes",
}


@require_GET
@login_required
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    config = {
        "streams": f"{settings.ROWCAST_URL}/streams/{_STREAMS[request.user.role]}",
        "services": dict(Service.objects.values_list("pk", "name")),
        "role": request.user.role,
    }
    return render(request, "bookings.html", {"config": config})


@require_GET
@login_required
def bookings(request: HttpRequest) -> HttpResponse:
    rows = booking.visible_to(request.user).order_by("start_time", "pk")
    return JsonResponse({"bookings": [_row(each) for each in rows]})


@require_POST
@login_required
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
@login_required
def token(request: HttpRequest) -> HttpResponse:
    """Signs who the user is, for as long as it takes to ask for the next one."""
    claims = {"sub": str(request.user.pk), "role": request.user.role, "exp": int(time.time()) + _TOKEN_SECONDS}
    response = JsonResponse({"token": jwt.encode(claims, settings.ROWCAST_JWT_SECRET, algorithm="HS256")})
    response["Cache-Control"] = "no-store"
    return response


def _row(each: Booking) -> dict[str, Any]:
    """Returns a booking as the stream gives it, as far as the page shows it."""
    names = ("id", "customer_id", "provider_id", "service_id", "start_time", "status", "notes")
    return {name: getattr(each, name) for name in names}
