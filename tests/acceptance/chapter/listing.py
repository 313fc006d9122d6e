"""Listings and the alerts to those who watch: who is told what of each statement."""

from tests.support.witness import Step

LISTING = "00000000-0000-4000-8000-000000003001"
SECOND_LISTING = "00000000-0000-4000-8000-000000003002"
THIRD_LISTING = "00000000-0000-4000-8000-000000003003"

PROPERTIES: tuple[Step, ...] = (
    (
        f"insert into properties (id, price, {{properties}}) values ('{LISTING}', {{p1.low}}, {{p1.properties}})",
        "all properties: INSERT p1",
        "all properties-diff: property-created p1",
        "1 10 property-alerts: INSERT p1",
        "13 changes/properties: INSERT p1",
        "13 changes/property_alerts: INSERT p1",
    ),
    (
        f"update properties set price = {{p2.low}}, ({{properties}}) = ({{p2.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p1 → p2",
        "all properties-diff: property-updated p1 → p2",
        "1 10 property-alerts: INSERT p1+p2",
        "13 changes/properties: UPDATE p1 → p2",
        "13 changes/property_alerts: INSERT p1+p2",
    ),
    (
        # Neither its price nor its status: nobody is alerted.
        f"update properties set ({{properties}}) = ({{p3.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p2 → p2+p3",
        "all properties-diff: property-updated p2 → p3",
        "13 changes/properties: UPDATE p2 → p2+p3",
    ),
    (
        # From the low to the high price: those who watched it, and those who do now.
        f"update properties set price = {{p4.high}}, ({{properties}}) = ({{p4.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p2+p3 → p4",
        "all properties-diff: property-updated p2+p3 → p4",
        "1 2 10 property-alerts: INSERT p2+p4",
        "13 changes/properties: UPDATE p2+p3 → p4",
        "13 changes/property_alerts: INSERT p2+p4",
    ),
    (
        f"update properties set status = 'sold', ({{properties}}) = ({{p5.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p4 → p4+p5",
        "all properties-diff: property-updated p4 → p5",
        "2 property-alerts: INSERT p4+p5",
        "13 changes/properties: UPDATE p4 → p4+p5",
        "13 changes/property_alerts: INSERT p4+p5",
    ),
    (
        # Two listings in one statement: an alert each, to each one's watchers.
        "insert into properties (id, price, {properties}) values"
        f" ('{SECOND_LISTING}', {{p6.high}}, {{p6.properties}}), ('{THIRD_LISTING}', {{p7.low}}, {{p7.properties}})",
        "all properties: INSERT p6; INSERT p7",
        "all properties-diff: property-created p6; property-created p7",
        "2 property-alerts: INSERT p6",
        "1 10 property-alerts: INSERT p7",
        "13 changes/properties: INSERT p6; INSERT p7",
        "13 changes/property_alerts: INSERT p6; INSERT p7",
    ),
    (
        f"delete from properties where id = '{LISTING}'",
        "all properties: DELETE p4+p5",
        f"all properties-diff: property-deleted {LISTING}",
        "13 changes/properties: DELETE p4+p5",
    ),
)

ALERTS: tuple[Step, ...] = (
    (
        "insert into property_alerts (id, property_id, price, status, user_ids, {property_alerts}) values"
        " (3001, gen_random_uuid(), {l1.low}, 'sold', array[1, 9, 9, {hidden.low}], {l1.property_alerts})",
        "1 9 property-alerts: INSERT l1",
        "13 changes/property_alerts: INSERT l1",
    ),
    (
        "update property_alerts set user_ids = array[{hidden.low}, 2, 9], price = {l2.low}, ({property_alerts}) = ({l2.property_alerts})"
        " where id = 3001",
        "1 property-alerts: LEFT 3001",
        "2 property-alerts: INSERT l2",
        "9 property-alerts: UPDATE l1 → l2",
        "13 changes/property_alerts: UPDATE l1 → l2",
    ),
    (
        "update property_alerts set user_ids = array[{hidden.low}, 13], price = {l3.low}, ({property_alerts}) = ({l3.property_alerts})"
        " where id = 3001",
        "2 9 property-alerts: LEFT 3001",
        "13 property-alerts: INSERT l3",
        "13 changes/property_alerts: UPDATE l2 → l3",
    ),
    (
        "delete from property_alerts where id = 3001",
        "13 property-alerts: DELETE l3",
        "13 changes/property_alerts: DELETE l3",
    ),
)
