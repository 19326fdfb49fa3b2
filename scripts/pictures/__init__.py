"""Pictures of dashboards: runs that are made for them, and the browser that looks at them."""
