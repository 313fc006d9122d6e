"""Availability, notifications, services: who is told what of each statement."""

from tests.support.witness import Step

AVAILABILITY: tuple[Step, ...] = (
    (
        "insert into availability (id, provider_id, {availability}) values (6001, 9, {a1.availability})",
        "9 availability: INSERT a1",
        "13 changes/availability: INSERT a1",
    ),
    (
        "update availability set available = false, ({availability}) = ({a2.availability}) where id = 6001",
        "9 availability: UPDATE a1 → a2",
        "13 changes/availability: UPDATE a1 → a2",
    ),
    (
        "update availability set provider_id = 10, ({availability}) = ({a3.availability}) where id = 6001",
        "9 availability: LEFT 6001",
        "10 availability: INSERT a3",
        "13 changes/availability: UPDATE a2 → a3",
    ),
    (
        "delete from availability where id = 6001",
        "10 availability: DELETE a3",
        "13 changes/availability: DELETE a3",
    ),
)

NOTIFICATIONS: tuple[Step, ...] = (
    (
        "insert into notifications (id, user_id, {notifications}) values (5001, 1, {n1.notifications}), (5002, 13, {n2.notifications})",
        "1 notifications: INSERT n1",
        "13 notifications: INSERT n2",
        "13 changes/notifications: INSERT n1; INSERT n2",
    ),
    (
        "update notifications set read = true, ({notifications}) = ({n3.notifications}) where id = 5001",
        "1 notifications: UPDATE n1 → n3",
        "13 changes/notifications: UPDATE n1 → n3",
    ),
    (
        "update notifications set user_id = 2, ({notifications}) = ({n4.notifications}) where id = 5001",
        "1 notifications: LEFT 5001",
        "2 notifications: INSERT n4",
        "13 changes/notifications: UPDATE n3 → n4",
    ),
    (
        "update notifications set user_id = 9, ({notifications}) = ({n5.notifications}) where id = 5002",
        "13 notifications: LEFT 5002",
        "9 notifications: INSERT n5",
        "13 changes/notifications: UPDATE n2 → n5",
    ),
    (
        "delete from notifications where id in (5001, 5002)",
        "2 notifications: DELETE n4",
        "9 notifications: DELETE n5",
        "13 changes/notifications: DELETE n4; DELETE n5",
    ),
)

SERVICES: tuple[Step, ...] = (
    (
        "insert into services (id, {services}) values (4001, {s1.services}), (4002, {s2.services})",
        "all services: INSERT s1; INSERT s2",
        "13 changes/services: INSERT s1; INSERT s2",
    ),
    (
        "update services set id = 4003, ({services}) = ({s3.services}) where id = 4002",
        "all services: UPDATE s2 → s3",
        "13 changes/services: UPDATE s2 → s3",
    ),
    ("insert into services (id, {services}) values (4001, {none.services}) on conflict do nothing",),
    (
        "insert into services (id, {services}) values (4001, {s4.services}), (4004, {s5.services})"
        " on conflict (id) do update set ({services}) = (select {services} from (select excluded.*) as given)",
        "all services: UPDATE s1 → s4; INSERT s5",
        "13 changes/services: UPDATE s1 → s4; INSERT s5",
    ),
    (
        "delete from services where id > 4000",
        "all services: DELETE s3; DELETE s4; DELETE s5",
        "13 changes/services: DELETE s3; DELETE s4; DELETE s5",
    ),
)
