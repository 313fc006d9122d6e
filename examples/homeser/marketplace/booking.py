"""What may become of a booking, and who is told."""

from django.db import transaction

from marketplace.models import Booking, Notification, User

_NEXT = {
    Booking.Status.PENDING: {Booking.Status.CONFIRMED, Booking.Status.CANCELLED},
    Booking.Status.CONFIRMED: {Booking.Status.IN_PROGRESS, Booking.Status.CANCELLED},
    Booking.Status.IN_PROGRESS: {Booking.Status.COMPLETED},
}
_ALL = set(Booking.Status)
_ALLOWED = {User.Role.CUSTOMER: {Booking.Status.CANCELLED}, User.Role.PROVIDER: _ALL, User.Role.ADMIN: _ALL}


class NotPossible(Exception):
    """The booking cannot become that, or not by this user."""


@transaction.atomic
def move(number: int, status: str, by: User) -> Booking:
    """Gives one of the user's bookings another status, and notifies the other side in the same transaction.

    Raises Booking.DoesNotExist for one that is not theirs, and NotPossible.
    """
    booking: Booking = visible_to(by).select_for_update(of=("self",)).get(pk=number)
    if status not in _NEXT.get(booking.status, set()) & _ALLOWED[by.role]:
        raise NotPossible(f"a {booking.status} booking does not become {status} by a {by.role}")
    before, after = booking.status.replace("_", " "), status.replace("_", " ")
    booking.status = status
    booking.save(update_fields=["status", "updated_at"])
    Notification.objects.bulk_create(
        Notification(
            user_id=user_id,
            kind="booking-status",
            title=f"Booking {after}",
            body=f"Booking {number} went from {before} to {after}.",
            booking=booking,
        )
        for user_id in {booking.customer_id, booking.provider_id} - {None, by.pk}
    )
    return booking


def moves(user: User) -> dict[str, list[str]]:
    """Returns what a user may make of a booking of each status."""
    return {status: sorted(after & _ALLOWED[user.role]) for status, after in _NEXT.items()}


def visible_to(user: User):  # type: ignore[no-untyped-def]  # a QuerySet of Booking: Django ships no types
    """Returns the bookings that concern a user."""
    match user.role:
        case User.Role.CUSTOMER:
            return Booking.objects.filter(customer=user)
        case User.Role.PROVIDER:
            return Booking.objects.filter(provider=user)
    return Booking.objects.all()
