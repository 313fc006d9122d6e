"""What may become of a booking, and who is told."""

from django.db import transaction

from marketplace.models import Booking, Notification, User

_NEXT = {
    Booking.Status.PENDING: {Booking.Status.CONFIRMED, Booking.Status.CANCELLED},
    Booking.Status.CONFIRMED: {Booking.Status.IN_PROGRESS, Booking.Status.CANCELLED},
    Booking.Status.IN_PROGRESS: {Booking.Status.COMPLETED},
}
_CUSTOMERS = {Booking.Status.CANCELLED}


class NotPossible(Exception):
    """The booking cannot become that, or not by this user."""


@transaction.atomic
def move(number: int, status: str, by: User) -> Booking:
    """Gives one of the user's bookings another status, and notifies the other side in the same transaction.

    Raises Booking.DoesNotExist for one that is not theirs, and NotPossible.
    """
    booking: Booking = visible_to(by).select_for_update(of=("self",)).get(pk=number)
    if status not in _NEXT.get(booking.status, set()) or (by.role == User.Role.CUSTOMER and status not in _CUSTOMERS):
        raise NotPossible(f"a {booking.status} booking does not become {status} by a {by.role}")
    before, booking.status = booking.status, status
    booking.save(update_fields=["status", "updated_at"])
    Notification.objects.bulk_create(
        Notification(
            user_id=user_id,
            kind="booking-status",
            title=f"Booking {status}",
            body=f"Booking {number} went from {before} to {status}.",
            booking=booking,
        )
        for user_id in {booking.customer_id, booking.provider_id} - {None, by.pk}
    )
    return booking


def visible_to(user: User):  # type: ignore[no-untyped-def]  # a QuerySet of Booking: Django ships no types
    """Returns the bookings that concern a user."""
    match user.role:
        case User.Role.CUSTOMER:
            return Booking.objects.filter(customer=user)
        case User.Role.PROVIDER:
            return Booking.objects.filter(provider=user)
    return Booking.objects.all()
