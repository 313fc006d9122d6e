"""Which address is which view."""

from django.contrib import admin
from django.urls import include, path

from marketplace import views

urlpatterns = [
    path("", views.page),
    path("api/bookings/<int:number>/<str:status>", views.move),
    path("api/token", views.token),
    path("api/me", views.me),
    path("api/<str:table>", views.rows),
    path("accounts/", include("django.contrib.auth.urls")),
    path("admin/", admin.site.urls),
]
