"""The marketplace. Nothing here knows that somebody listens: whatever Django writes, a trigger sees."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Dated(models.Model):
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class User(AbstractUser):
    class Role(models.TextChoices):
        CUSTOMER = "customer"
        PROVIDER = "provider"
        ADMIN = "admin"

    role = models.CharField(max_length=20, choices=Role, default=Role.CUSTOMER)
    phone = models.CharField(max_length=40, blank=True)

    class Meta:
        db_table = "users"


class Service(Dated):
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    category = models.CharField(max_length=40)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    duration_minutes = models.IntegerField(default=60)
    active = models.BooleanField(default=True)

    class Meta:
        db_table = "services"

    def __str__(self) -> str:
        return str(self.name)


class Booking(Dated):
    class Status(models.TextChoices):
        PENDING = "pending"
        CONFIRMED = "confirmed"
        IN_PROGRESS = "in_progress"
        COMPLETED = "completed"
        CANCELLED = "cancelled"

    customer = models.ForeignKey(User, models.PROTECT, related_name="bookings")
    provider = models.ForeignKey(User, models.PROTECT, related_name="served", null=True, blank=True)
    service = models.ForeignKey(Service, models.PROTECT)
    booking_date = models.DateTimeField()
    start_time = models.DateTimeField()
    end_time = models.DateTimeField()
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    notes = models.TextField(null=True, blank=True)

    class Meta:
        db_table = "bookings"

    def __str__(self) -> str:
        return f"booking {self.pk}, {self.status}"


class Payment(Dated):
    class Status(models.TextChoices):
        PENDING = "pending"
        AUTHORIZED = "authorized"
        PAID = "paid"
        REFUNDED = "refunded"
        FAILED = "failed"

    booking = models.ForeignKey(Booking, models.CASCADE)
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    currency = models.CharField(max_length=3, default="USD")
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    method = models.CharField(max_length=20, blank=True)

    class Meta:
        db_table = "payments"


class Availability(Dated):
    provider = models.ForeignKey(User, models.CASCADE)
    day = models.DateField()
    start_time = models.TimeField()
    end_time = models.TimeField()
    available = models.BooleanField(default=True)

    class Meta:
        db_table = "availability"
        verbose_name_plural = "availability"


class Notification(models.Model):
    user = models.ForeignKey(User, models.CASCADE)
    kind = models.CharField(max_length=40)
    title = models.CharField(max_length=200)
    body = models.TextField(blank=True)
    booking = models.ForeignKey(Booking, models.SET_NULL, null=True, blank=True)
    read = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "notifications"
