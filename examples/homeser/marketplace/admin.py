"""Everything can be changed in the admin site, and every change reaches who listens."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from marketplace.models import Availability, Booking, Notification, Payment, Service, User


@admin.register(User)
class People(UserAdmin):
    list_display = ("username", "role", "email")
    fieldsets = (*UserAdmin.fieldsets, ("Marketplace", {"fields": ("role", "phone")}))


@admin.register(Booking)
class Bookings(admin.ModelAdmin):
    list_display = ("id", "customer", "provider", "service", "start_time", "status")
    list_editable = ("status",)
    list_filter = ("status",)
    actions = ("confirm",)

    @admin.action(description="Confirm selected bookings")
    def confirm(self, request, queryset) -> None:  # type: ignore[no-untyped-def]  # Django ships no types
        queryset.update(status=Booking.Status.CONFIRMED)


admin.site.register([Availability, Notification, Payment, Service])
