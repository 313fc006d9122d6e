"""What Rowcast publishes of this site: `ROWCAST_STREAMS=acquire.published`. The site itself never imports it."""

from dataclasses import replace

import streams.properties as declared

__all__ = ["properties", "property_alerts"]

# The page shows the status of a listing that enters its room, which need not be a new one.
properties = replace(declared.properties, announced=(*declared.properties.announced, "status"))
property_alerts = declared.property_alerts
