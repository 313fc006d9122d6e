"""`manage.py sample`: people, services and bookings to try it with."""

import secrets
from datetime import time, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from marketplace.models import Availability, Booking, Payment, Service, User

_PEOPLE = {"ada": "customer", "ben": "customer", "ines": "provider", "jonas": "provider", "mara": "admin"}
_SERVICES = {"Home cleaning": ("cleaning", 79), "Plumbing visit": ("repairs", 95), "Garden care": ("garden", 65)}


class Command(BaseCommand):
    help = "Fills an empty database with sample data, and gives the sample people a new password, which it prints."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        password = secrets.token_urlsafe(6)
        people = {}
        for name, role in _PEOPLE.items():
            people[name], _ = User.objects.get_or_create(
                username=name, defaults={"role": role, "is_staff": role == "admin", "is_superuser": role == "admin"}
            )
            people[name].set_password(password)
            people[name].save()
        if not Booking.objects.exists():
            _fill(people)
        self.stdout.write(f"sign in as {', '.join(f'{name} ({role})' for name, role in _PEOPLE.items())}; password {password}")


def _fill(people: dict[str, User]) -> None:
    services = [Service.objects.create(name=name, category=category, price=price) for name, (category, price) in _SERVICES.items()]
    tomorrow = timezone.now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    for number in range(6):
        start = tomorrow + timedelta(hours=3 * number)
        service = services[number % 3]
        booking = Booking.objects.create(
            customer=people["ada" if number % 2 == 0 else "ben"],
            provider=people["ines" if number % 3 else "jonas"],
            service=service,
            booking_date=start,
            start_time=start,
            end_time=start + timedelta(hours=2),
        )
        Payment.objects.create(booking=booking, amount=service.price, method="card")
    for name in ("ines", "jonas"):
        Availability.objects.create(provider=people[name], day=tomorrow.date(), start_time=time(9), end_time=time(17))
